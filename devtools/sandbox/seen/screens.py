"""Decodes kept messages into what a lock screen, an SMS thread and an inbox show."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qsl

import msgspec

from devtools.sandbox import fcm
from devtools.sandbox.seen.mail_parts import header, read_mail, text_of
from notify_streams.delivery.providers.sms import sms_size
from notify_streams.records.names import MARK_PREFIX


class Push(msgspec.Struct, frozen=True, kw_only=True):
    title: str
    body: str
    #: The address of a picture; it is not loaded.
    image: str | None
    #: For the app, without the delivery metadata.
    data: dict[str, str]
    #: The number on the app's icon.
    badge: int | None
    collapse_key: str | None
    #: FCM's: NORMAL or HIGH.
    priority: str


class Sms(msgspec.Struct, frozen=True, kw_only=True):
    #: A number, or the id of a messaging service.
    sender: str
    text: str
    #: GSM-7 or UCS-2
    encoding: str
    #: Septets or 16-bit units.
    units: int
    segments: int


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    subject: str
    sender: str
    date: str
    message_id: str
    #: There is a DKIM signature; it is not verified.
    is_signed: bool
    #: None: there is no such part.
    text: str | None
    html: str | None


def read_push(content: bytes) -> Push:
    """The push of an FCM request.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError: it is not complete.
    """
    message = fcm.decode(content).message
    shown, android = message.notification, message.android
    return Push(
        title=android.notification.title or shown.title or "",
        body=android.notification.body or shown.body or "",
        image=android.notification.image or shown.image,
        data={name: text for name, text in message.data.items() if not name.startswith(MARK_PREFIX)},
        badge=next(_badges(message), None),
        collapse_key=next(filter(None, _collapse_keys(message)), None),
        priority=android.priority.upper(),
    )


def _badges(message: fcm.Message) -> Iterator[int]:
    aps = message.apns.payload.get("aps")
    for value in (message.android.notification.notification_count, aps.get("badge") if isinstance(aps, dict) else None):
        if isinstance(value, int) and not isinstance(value, bool):
            yield value


def _collapse_keys(message: fcm.Message) -> Iterator[str | None]:
    yield message.android.collapse_key
    yield message.apns.headers.get("apns-collapse-id")
    yield message.webpush.headers.get("Topic")


def read_sms(content: bytes) -> Sms:
    """The SMS of a form for Twilio."""
    form = dict(parse_qsl(content.decode("ascii", "replace"), keep_blank_values=True))
    text = form.get("Body", "")
    size = sms_size(text)
    return Sms(
        sender=form.get("From") or form.get("MessagingServiceSid", ""),
        text=text,
        encoding=size.encoding,
        units=size.units,
        segments=size.segments,
    )


def read_email(content: bytes) -> Mail:
    """The mail; of a hostile one anything may raise."""
    mail = read_mail(content)
    return Mail(
        subject=header(mail, "Subject"),
        sender=header(mail, "From"),
        date=header(mail, "Date"),
        message_id=header(mail, "Message-ID"),
        is_signed="DKIM-Signature" in mail,
        text=text_of(mail, "plain"),
        html=text_of(mail, "html"),
    )
