"""Decodes kept messages into what a lock screen, an SMS thread and an inbox show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from devtools.sandbox import fcm
from devtools.sandbox.messages import PushContent
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
    #: FCM's: NORMAL or HIGH; APNs' 10 is HIGH and 5 NORMAL; of Web Push the urgency.
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


def read_fcm(content: bytes) -> Push:
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
        data=_data(message.data),
        badge=next(_badges(message), None),
        collapse_key=next(filter(None, _collapse_keys(message)), None),
        priority=android.priority.upper(),
    )


def read_apns(content: bytes) -> Push:
    """The push of a `PushContent`.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError: it is not complete.
    """
    kept = msgspec.json.decode(content, type=PushContent)
    payload = msgspec.json.decode(kept.payload, type=dict[str, Any])
    aps = msgspec.convert(payload.pop("aps", {}), _Aps)
    alert = _Alert(body=aps.alert) if isinstance(aps.alert, str) else aps.alert
    return Push(
        title=alert.title or "",
        body=alert.body or "",
        image=None,
        data=_data(payload),
        badge=aps.badge,
        collapse_key=kept.headers.get("apns-collapse-id"),
        priority={"5": "NORMAL", "1": "LOW"}.get(kept.headers.get("apns-priority", ""), "HIGH"),
    )


def read_web_push(content: bytes) -> Push:
    """The push of a `PushContent`, as a service worker of the application shows it.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError: it is not complete, or not a message of ours.
    """
    kept = msgspec.json.decode(content, type=PushContent)
    message = msgspec.json.decode(kept.payload, type=_WebPush)
    shown = message.notification
    return Push(
        title=shown.title or "",
        body=shown.body or "",
        image=shown.image,
        data=_data(message.data),
        badge=None,
        collapse_key=kept.headers.get("topic"),
        priority=kept.headers.get("urgency", "normal").upper(),
    )


#: By provider.
PUSH_READERS: Final[Mapping[str, Callable[[bytes], Push]]] = {
    "fcm": read_fcm,
    "apns": read_apns,
    "web_push": read_web_push,
}


class _Alert(msgspec.Struct):
    title: str | None = None
    body: str | None = None
    image: str | None = None


class _Aps(msgspec.Struct):
    alert: _Alert | str = ""
    badge: int | None = None


class _WebPush(msgspec.Struct):
    notification: _Alert
    data: dict[str, Any] = {}


def _data(given: Mapping[str, Any]) -> dict[str, str]:
    """The application's data as text."""
    return {
        name: value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for name, value in given.items()
        if not name.startswith(MARK_PREFIX)
    }


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
