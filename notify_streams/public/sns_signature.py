"""The signature of messages that Amazon SNS sends by HTTPS.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html, versions 1 (SHA-1) and 2 (SHA-256).
"""

from __future__ import annotations

import re
from base64 import b64decode
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final, Literal
from urllib.parse import urlencode

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.x509 import (
    Certificate,
    DNSName,
    ExtensionNotFound,
    NameOID,
    SubjectAlternativeName,
    load_pem_x509_certificate,
)

from notify_streams.field_errors import DECODE_ERRORS

if TYPE_CHECKING:
    from collections.abc import Collection

_CERTIFICATE_URL: Final = re.compile(
    r"https://sns\.([a-z0-9-]{3,32})\.amazonaws\.com(\.cn)?/SimpleNotificationService-[A-Za-z0-9]{1,64}\.pem"
)
#: What Amazon names its signing certificates: sns.amazonaws.com, sns-signing.<region>.amazonaws.com, …
_SIGNER: Final = re.compile(r"sns[a-z0-9.-]*\.amazonaws\.com(\.cn)?")
_HASHES: Final = {"1": SHA1, "2": SHA256}
#: Those of them that a message has are signed; the token only in a message about a subscription.
_SIGNED: Final = ("Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
#: SNS tries again for an hour at most; a message's time is that of its publication.
MAX_AGE_S: Final = 24 * 3600.0
_MAX_AHEAD_S: Final = 300.0


class SnsMessage(msgspec.Struct, frozen=True, rename="pascal"):
    """A message as SNS posts it. Only signed fields are used, and those that lead to the signature."""

    type: Literal["Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation"]
    message_id: str
    topic_arn: str
    message: str
    timestamp: str
    signature_version: Literal["1", "2"]
    signature: str
    signing_cert_url: Annotated[str, msgspec.Meta(max_length=256)] = msgspec.field(name="SigningCertURL")
    subject: str | None = None
    token: str | None = None
    subscribe_url: str | None = msgspec.field(name="SubscribeURL", default=None)

    @property
    def at(self) -> datetime | None:
        """The signed time; None if it is none."""
        try:
            at = datetime.fromisoformat(self.timestamp)
        except ValueError:
            return None
        return at if at.tzinfo is not None else None


_FIELDS: Final = {one.encode_name: one.name for one in msgspec.structs.fields(SnsMessage)}
_read: Final = msgspec.json.Decoder(SnsMessage).decode


def read_sns_message(body: bytes) -> SnsMessage | None:
    """The message, not verified; None if it is none."""
    try:
        return _read(body)
    except DECODE_ERRORS:
        return None


def refusal_of(message: SnsMessage, topics: Collection[str], now: datetime) -> str | None:
    """What is wrong with a message besides its signature, in one word; None if nothing is. Nothing is fetched for such a message."""
    if message.topic_arn not in topics:
        return "topic"
    url = _CERTIFICATE_URL.fullmatch(message.signing_cert_url)
    if (
        url is None
        or url[1] != region_of(message.topic_arn)
        or (url[2] is not None) != message.topic_arn.startswith("arn:aws-cn:")
    ):
        return "certificate_url"
    at = message.at
    if at is None or not -_MAX_AHEAD_S <= (now - at).total_seconds() <= MAX_AGE_S:
        return "time"
    if message.type != "Notification" and not message.token:
        return "token"
    return None


def region_of(topic_arn: str) -> str:
    """The AWS region of a topic."""
    return topic_arn.split(":")[3]


def signing_key(pem: bytes, now: datetime) -> RSAPublicKey | None:
    """The key of a signing certificate; None if it is no certificate of SNS that is valid now."""
    try:
        certificate = load_pem_x509_certificate(pem)
    except ValueError:
        return None
    key = certificate.public_key()
    is_valid = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
    is_signer = any(map(_SIGNER.fullmatch, _names(certificate)))
    return key if is_valid and is_signer and isinstance(key, RSAPublicKey) else None


def is_signed(message: SnsMessage, key: RSAPublicKey) -> bool:
    """Whether `key` has signed the message."""
    values = [
        (name, getattr(message, _FIELDS[name])) for name in _SIGNED if name != "Token" or message.type != "Notification"
    ]
    text = "".join(f"{name}\n{value}\n" for name, value in values if value is not None)
    try:
        signature = b64decode(message.signature, validate=True)
        key.verify(signature, text.encode(), PKCS1v15(), _HASHES[message.signature_version]())
    except (ValueError, InvalidSignature):
        return False
    return True


def confirmation_url(message: SnsMessage) -> str:
    """The URL that confirms a subscription, made of signed fields: `SubscribeURL` is signed as well, but could name another host."""
    domain = "amazonaws.com.cn" if message.topic_arn.startswith("arn:aws-cn:") else "amazonaws.com"
    query = {"Action": "ConfirmSubscription", "TopicArn": message.topic_arn, "Token": message.token or ""}
    return f"https://sns.{region_of(message.topic_arn)}.{domain}/?{urlencode(query)}"


def _names(certificate: Certificate) -> list[str]:
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    names = [str(one.value) for one in common]
    with suppress(ExtensionNotFound):
        further = certificate.extensions.get_extension_for_class(SubjectAlternativeName)
        names += further.value.get_values_for_type(DNSName)
    return names
