"""Triggers: what upstream systems push. Bare JSON, CloudEvents structured JSON or CloudEvents binary mode in; a `Trigger` or a `Rejection` out.

CloudEvents: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from notify_streams.records.reasons import DeadReason
from notify_streams.roles import Channel

if TYPE_CHECKING:
    from collections.abc import Sequence

_Text = Annotated[str, msgspec.Meta(min_length=1)]
_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
_Instant = Annotated[datetime, msgspec.Meta(tz=True)]

CRITICAL_HEADER: Final = "critical"
_CE_ID: Final = "ce_id"
_BRACE: Final = ord("{")
_SAYS_CRITICAL: Final = re.compile(rb'"isCritical"[ \t\r\n]*:[ \t\r\n]*true')
#: What could hide the word from a scan of bytes: an escape, or a base64 envelope.
_HIDING: Final = (rb"\u", b'"data_base64"')


class Trigger(msgspec.Struct, frozen=True, gc=False, rename={"is_critical": "isCritical"}):
    """One request to notify one person."""

    user_id: _Id
    category: _Text
    id: _Id | None = None
    is_critical: bool = False
    #: None: all that the category allows.
    channels: tuple[Channel, ...] | None = None
    template: _Text | None = None
    #: A JSON object passed on as it came, never decoded here; empty if there is none.
    data: msgspec.Raw = msgspec.Raw()
    title: str | None = None
    body: str | None = None
    created_at: _Instant | None = None
    expires_at: _Instant | None = None
    collapse_key: str | None = None
    test: bool = False


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """Why a record is no trigger, in words that its sender understands."""

    reason: DeadReason
    detail: str


class _CloudEvent(msgspec.Struct, frozen=True, gc=False):
    id: str
    data: msgspec.Raw = msgspec.Raw()
    data_base64: str | None = None


_trigger = msgspec.json.Decoder(Trigger)
_cloud_event = msgspec.json.Decoder(_CloudEvent)


def read_trigger(value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> Trigger | Rejection:
    """Decode and validate one record. The result's `id` is never None and `data`, if any, is a JSON object."""
    if not value:
        return Rejection(DeadReason.NOT_JSON, "the record has no value; a trigger is a JSON object")
    try:
        if not value.isascii():
            value.decode()  # the decoder does not look into what it passes on
        trigger = _trigger.decode(value)
    except msgspec.ValidationError as error:
        return _read_enveloped(value, error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Rejection(DeadReason.NOT_JSON, f"the value is not JSON: {error}")
    if trigger.id is None:
        return _checked(trigger, _header(headers, _CE_ID))
    return _checked(trigger, None)


def may_be_critical(value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> bool:
    """False only if the record certainly does not ask to be critical: the price of skipping it is this scan."""
    for name, content in headers:
        if name == CRITICAL_HEADER and content == b"1":
            return True
    if value is None:
        return False
    at = value.find(b'"isCritical"')
    if at >= 0 and _SAYS_CRITICAL.search(value, at):
        return True
    return any(hiding in value for hiding in _HIDING)


def asks_critical(trigger: Trigger, headers: Sequence[tuple[str, bytes]]) -> bool:
    """Whether the record's header or its body asks for the critical lane (its category may still refuse)."""
    return trigger.is_critical or any(name == CRITICAL_HEADER and content == b"1" for name, content in headers)


def _read_enveloped(value: bytes, why_not_bare: msgspec.ValidationError) -> Trigger | Rejection:
    if b'"specversion"' not in value:
        return Rejection(DeadReason.INVALID, str(why_not_bare))
    try:
        event = _cloud_event.decode(value)
        data = event.data if event.data_base64 is None else base64.b64decode(event.data_base64, validate=True)
        if not data:
            return Rejection(DeadReason.INVALID, "the CloudEvent has neither `data` nor `data_base64`")
        trigger = _trigger.decode(data)
    except msgspec.ValidationError as error:
        return Rejection(DeadReason.INVALID, f"CloudEvent: {error}")
    except (msgspec.DecodeError, binascii.Error, ValueError, RecursionError) as error:
        return Rejection(DeadReason.INVALID, f"the CloudEvent's data is not a JSON object: {error}")
    return _checked(trigger, event.id)


def _checked(trigger: Trigger, fallback_id: str | None) -> Trigger | Rejection:
    if trigger.id is None:
        if not fallback_id or len(fallback_id) > 128:
            return Rejection(DeadReason.INVALID, "Object missing required field `id` (1 to 128 characters)")
        trigger = msgspec.structs.replace(trigger, id=fallback_id)
    if trigger.template is None and (trigger.title is None or trigger.body is None):
        return Rejection(DeadReason.INVALID, "either `template`, or `title` and `body`, must be given")
    if trigger.channels is not None and not trigger.channels:
        return Rejection(DeadReason.INVALID, "`channels` is empty; leave it out for all that the category allows")
    data = memoryview(trigger.data)
    if data and data[0] != _BRACE:
        if bytes(data) != b"null":
            return Rejection(DeadReason.INVALID, "`data` must be a JSON object")
        trigger = msgspec.structs.replace(trigger, data=msgspec.Raw())
    return trigger


def _header(headers: Sequence[tuple[str, bytes]], wanted: str) -> str | None:
    for name, content in headers:
        if name == wanted:
            return content.decode("utf-8", "replace")
    return None
