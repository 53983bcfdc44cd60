"""Settings of what the internet reaches: webhooks and the links in messages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from notify_streams import addresses
from notify_streams.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

#: 32 bytes in base64url, as `cryptography.fernet.Fernet.generate_key` makes them.
_FERNET_KEY: Final = re.compile(r"[A-Za-z0-9_-]{43}=")
_ADDRESS_KEY: Final = re.compile(r"[!-~]{32,}")
#: 24 to 64 bytes in base64, as Standard Webhooks asks for.
_WEBHOOK_SECRET: Final = re.compile(
    r"whsec_(?=.{32,88}$)(?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
)
_SNS_TOPIC: Final = re.compile(
    r"arn:aws(?:-[a-z]+)*:sns:[a-z]{2,5}(?:-[a-z]+)+-[0-9]{1,2}:[0-9]{12}:[A-Za-z0-9_-]{1,256}"
)


class PublicSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Addresses and keys of the role `webhooks`. What lacks its key is off: a view answers 503, a mail has no link."""

    #: The public URL of each region's role `webhooks`: for links, for the callbacks of providers, and for requests that belong to another
    #: region.
    urls: dict[str, str] = {}
    #: Fernet keys, separated by commas: the first one makes links, each one reads them. The same in all regions.
    link_keys: Secret | None = None
    #: The key of the hash under which a suppressed address or an erased person is kept, at least 32 characters, and of `records.source_proofs`.
    #: The same in all regions, and it never changes: with another key none of them is found again.
    address_key: Secret | None = None
    #: Secrets of `/webhooks/generic` (Standard Webhooks: ``whsec_…``), separated by commas: each one is accepted.
    webhook_secrets: Secret | None = None
    #: Further secrets that Twilio signs with, separated by commas: the account's token, where calls use an API key; a token that was
    #: replaced.
    twilio_auth_tokens: Secret | None = None
    #: The answer to HELP by SMS. None: no answer; a messaging service of Twilio answers by itself.
    sms_help_text: Annotated[str, msgspec.Meta(min_length=1, max_length=1600)] | None = None
    #: The ARNs of the SNS topics whose messages are accepted. Only these are subscribed to.
    sns_topics: tuple[str, ...] = ()

    def link_key_list(self) -> list[str]:
        """The keys in `link_keys`; the first one makes links."""
        return secret_list(self.link_keys)

    def webhook_secret_list(self) -> list[str]:
        """The secrets in `webhook_secrets`."""
        return secret_list(self.webhook_secrets)

    def problems(self, regions: Collection[str]) -> Iterator[str]:
        """What is wrong; paths are relative to this group."""
        for region, url in self.urls.items():
            if region not in regions:
                yield f"urls.{region}: there is no such region"
            elif not addresses.HTTP.accepts(url) or not (url.startswith("https://") or addresses.is_loopback(url)):
                yield f"urls.{region} must be https://host, without user name or query (http:// for this machine alone)"
        if self.link_keys is not None and not all(map(_FERNET_KEY.fullmatch, self.link_key_list() or [""])):
            yield "link_keys must be Fernet keys separated by commas: create one with `openssl rand -base64 32 | tr +/ -_`"
        if self.address_key is not None and not _ADDRESS_KEY.fullmatch(self.address_key.reveal()):
            yield "address_key must have at least 32 characters without spaces: create one with `openssl rand -hex 32`"
        if self.webhook_secrets is not None and not all(
            map(_WEBHOOK_SECRET.fullmatch, self.webhook_secret_list() or [""])
        ):
            yield "webhook_secrets must be whsec_ and 24 to 64 bytes in base64, separated by commas"
        if self.twilio_auth_tokens is not None and not secret_list(self.twilio_auth_tokens):
            yield "twilio_auth_tokens must be tokens separated by commas"
        if not all(map(_SNS_TOPIC.fullmatch, self.sns_topics)):
            yield "sns_topics must be a list of ARNs as arn:aws:sns:eu-west-1:123456789012:mail-events"


def secret_list(secret: Secret | None) -> list[str]:
    """The texts of a secret that holds several, separated by commas."""
    return [] if secret is None else [one.strip() for one in secret.reveal().split(",") if one.strip()]
