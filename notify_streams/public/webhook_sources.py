"""What sends webhooks: how each proves itself, and what it reports."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import parse_qsl

from aiohttp.web import Response

from notify_streams.delivery.providers.generic_receipts import InvalidReport, generic_reports
from notify_streams.delivery.providers.ses_receipts import ses_reports
from notify_streams.delivery.providers.twilio_receipts import asks_for_help, twilio_reports
from notify_streams.errors import RetryLater
from notify_streams.followed_files import BadCredential, FollowedSecrets
from notify_streams.public import sns_signature, twilio_signature
from notify_streams.public.sns_client import SnsClient
from notify_streams.public.standard_webhooks import SeenIds, WebhookKeys
from notify_streams.settings_public import PublicSettings, secret_list
from notify_streams.web.responses import json_response

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiohttp.web import Request

    from notify_streams.app import NotifyApp
    from notify_streams.delivery.providers.reports import Report
    from notify_streams.secret import Secret

log = logging.getLogger(__name__)

_MAX_FIELDS: Final = 256
_TWIML: Final = '<?xml version="1.0" encoding="UTF-8"?><Response>%s</Response>'


@dataclass(frozen=True, slots=True)
class Verified:
    """A webhook that was proved."""

    reports: Sequence[Report] = ()
    #: The id under which a repetition is known.
    webhook_id: str | None = None
    #: It was applied before.
    repeated: bool = False
    #: The text to send to the person who wrote.
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class RefusedWebhook:
    """Nothing is done. `why` is for the sender's operator."""

    status: int
    why: str


NOT_SIGNED: Final = RefusedWebhook(403, "this request does not prove who sent it")


class WebhookSource(Protocol):
    """One kind of sender."""

    #: The longest body.
    max_bytes: int
    #: What must be set before anything is read; None if all is.
    missing: str | None

    async def verify(self, request: Request, body: bytes) -> Verified | RefusedWebhook:
        """Read the body if the request proves who sent it.

        Raises:
            RetryLater: it cannot be known now.
        """
        ...

    async def applied(self, verified: Verified) -> Response:
        """The response after the reports were stored.

        Raises:
            RetryLater
        """
        ...


class TwilioSource:
    """Twilio's status callbacks and incoming messages."""

    max_bytes = 64 * 1024

    def __init__(self, worker: NotifyApp) -> None:
        settings = worker.settings
        secrets = [one.twilio_auth_token for one in settings.providers.each_credential("twilio")]
        known = [one for one in (*secrets, settings.public.twilio_auth_tokens) if one is not None]
        self._tokens = _twilio_tokens(known)
        self._files = FollowedSecrets("webhooks/twilio", known, _twilio_tokens, self._use)
        worker.add_stop(self._files.close)
        urls = settings.public.urls
        self._help_text = settings.public.sms_help_text
        self._urls = [urls[settings.region]] if settings.region in urls else []
        self._urls += [url for region, url in urls.items() if region != settings.region]
        self.missing = None
        if not self._tokens:
            self.missing = "providers.twilio_auth_token or public.twilio_auth_tokens"
        elif not self._urls:
            self.missing = f"public.urls.{settings.region}"

    def _use(self, tokens: list[str]) -> None:
        self._tokens = tokens

    async def verify(self, request: Request, body: bytes) -> Verified | RefusedWebhook:
        await self._files.start()
        try:
            form = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
        except ValueError:
            return NOT_SIGNED
        headers = (
            request.headers.get(twilio_signature.SIGNATURE_HEADER),
            request.headers.get(twilio_signature.SETTINGS_HEADER),
        )
        if not twilio_signature.is_signed(self._urls, request.raw_path, form, headers, self._tokens):
            return NOT_SIGNED
        fields = dict(form)
        answer = self._help_text if asks_for_help(fields) else None
        return Verified(twilio_reports(fields, _first_values(request)), answer=answer)

    async def applied(self, verified: Verified) -> Response:
        message = "" if verified.answer is None else f"<Message>{escape(verified.answer)}</Message>"
        return Response(text=_TWIML % message, content_type="text/xml")


class SnsSource:
    """Messages of Amazon SNS: events of SES, text messages to a number of AWS."""

    max_bytes = 640 * 1024

    def __init__(self, worker: NotifyApp, client: SnsClient | None = None) -> None:
        self._topics = frozenset(worker.settings.public.sns_topics)
        self.missing = None if self._topics else "public.sns_topics"
        self._client = client or SnsClient(worker.settings.providers.ca_file)
        worker.add_stop(self._client.close)

    async def verify(self, request: Request, body: bytes) -> Verified | RefusedWebhook:
        message = sns_signature.read_sns_message(body)
        if message is None or sns_signature.refusal_of(message, self._topics, datetime.now(UTC)) is not None:
            return NOT_SIGNED
        key = await self._client.key(message.signing_cert_url)
        if key is None or not sns_signature.is_signed(message, key):
            return NOT_SIGNED
        if message.type == "SubscriptionConfirmation":
            if await self._client.get(sns_signature.confirmation_url(message)) is None:
                raise RetryLater("SNS did not confirm the subscription")
            log.info("subscription confirmed", extra={"action": "webhook.subscribed", "topic": message.topic_arn})
        elif message.type == "UnsubscribeConfirmation":
            log.warning("subscription ended", extra={"action": "webhook.unsubscribed", "topic": message.topic_arn})
        elif message.at is not None:
            return Verified(ses_reports(message.message, message.at))
        return Verified()

    async def applied(self, verified: Verified) -> Response:
        return json_response({"accepted": len(verified.reports)})


class GenericSource:
    """Any other system, by Standard Webhooks."""

    max_bytes = 64 * 1024

    def __init__(self, worker: NotifyApp) -> None:
        secret = worker.settings.public.webhook_secrets
        known = [] if secret is None else [secret]
        self.missing = None if known else "public.webhook_secrets"
        self._keys = _webhook_keys(known)
        self._files = FollowedSecrets("webhooks/generic", known, _webhook_keys, self._use)
        worker.add_stop(self._files.close)
        self._seen = SeenIds()

    def _use(self, keys: WebhookKeys) -> None:
        self._keys = keys

    async def verify(self, request: Request, body: bytes) -> Verified | RefusedWebhook:
        await self._files.start()
        found = self._keys.verified(request.headers, body, time.time())
        if found is None:
            return NOT_SIGNED
        webhook_id, at = found
        if webhook_id in self._seen:
            return Verified(webhook_id=webhook_id, repeated=True)
        try:
            return Verified(generic_reports(body, webhook_id, at), webhook_id)
        except InvalidReport as error:
            return RefusedWebhook(400, str(error))

    async def applied(self, verified: Verified) -> Response:
        if verified.webhook_id is not None:
            self._seen.add(verified.webhook_id, time.time())
        return json_response({"accepted": len(verified.reports)})


def _twilio_tokens(secrets: Sequence[Secret]) -> list[str]:
    """The tokens in these settings, each once."""
    return list(dict.fromkeys(token for secret in secrets for token in secret_list(secret)))


def _webhook_keys(secrets: Sequence[Secret]) -> WebhookKeys:
    """
    Raises:
        BadCredential: one is no secret of Standard Webhooks.
    """
    for secret in secrets:
        for problem in PublicSettings(webhook_secrets=secret).problems(()):
            raise BadCredential(f"public.{problem}")
    return WebhookKeys([text for secret in secrets for text in secret_list(secret)])


def _first_values(request: Request) -> Mapping[str, str]:
    """The query's parameters; the first one of a name."""
    return {name: request.query[name] for name in request.query}
