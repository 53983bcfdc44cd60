"""Decodes and validates triggers: JSON and CloudEvents (structured, binary).

CloudEvents: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from __future__ import annotations

import base64
import re
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from notify_streams.records.outcomes import DeadReason
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
#: May hide the word from a scan of bytes: an escape, or base64.
_HIDING: Final = (rb"\u", b'"data_base64"')

#: Maximum nesting. A decoder's own limit depends on the call depth, and both router roles must agree.
MAX_DEPTH: Final = 200
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET: Final = re.compile(rb"[\[\]{}]")
_BOM: Final = b"\xef\xbb\xbf"


#: No data. A single object: the encoder omits a default only if it is identical.
NO_DATA: Final = msgspec.Raw()


class Trigger(msgspec.Struct, frozen=True, gc=False, rename={"is_critical": "isCritical"}):
    """A request to notify one user."""

    user_id: _Id
    category: _Text
    id: _Id | None = None
    is_critical: bool = False
    #: None: all channels of the category.
    channels: tuple[Channel, ...] | None = None
    template: _Text | None = None
    #: A JSON object, passed on undecoded; `NO_DATA` if there is none.
    data: msgspec.Raw = NO_DATA
    title: str | None = None
    body: str | None = None
    created_at: _Instant | None = None
    expires_at: _Instant | None = None
    collapse_key: str | None = None
    test: bool = False


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """Why a record is refused, in a sentence for its sender."""

    reason: DeadReason
    detail: str


class _CloudEvent(msgspec.Struct, frozen=True, gc=False):
    id: str
    data: msgspec.Raw = msgspec.Raw()
    data_base64: str | None = None


_trigger = msgspec.json.Decoder(Trigger)
_cloud_event = msgspec.json.Decoder(_CloudEvent)
_anything = msgspec.json.Decoder()


def read_trigger(value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> Trigger | Rejection:
    """Decode and validate one record. The result's `id` is not None; `data`, if present, is a JSON object that can be decoded."""
    if not value:
        return Rejection(DeadReason.NOT_JSON, "the record has no value; a trigger is a JSON object")
    try:
        if not value.isascii():
            value.decode()  # the decoder does not check the bytes of `Raw` fields
        if _too_deep(value):
            return Rejection(DeadReason.INVALID, f"nested deeper than {MAX_DEPTH} levels")
        trigger = _trigger.decode(value)
    except msgspec.ValidationError as error:
        return _read_enveloped(value, error)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        why = "it begins with a byte order mark" if value.startswith(_BOM) else error
        return Rejection(DeadReason.NOT_JSON, f"the value is not JSON: {why}")
    if trigger.id is None:
        return _with_id_of_header(trigger, headers)
    return _checked(trigger, None)


def may_be_critical(value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> bool:
    """False only if the record certainly does not ask to be critical. A scan of bytes, cheaper than decoding."""
    for name, content in headers:
        if name == CRITICAL_HEADER and content == b"1":
            return True
    if value is None:
        return False
    at = value.find(b'"isCritical"')
    if at >= 0 and _SAYS_CRITICAL.search(value, at):
        return True
    return any(hiding in value for hiding in _HIDING)


def asks_critical(trigger: Trigger, headers: Sequence[tuple[str, bytes | None]]) -> bool:
    """Whether the header or the body asks for the critical lane. The category may refuse."""
    if trigger.is_critical or not headers:
        return trigger.is_critical
    return any(name == CRITICAL_HEADER and content == b"1" for name, content in headers)


def _read_enveloped(value: bytes, why_not_bare: msgspec.ValidationError) -> Trigger | Rejection:
    if b'"specversion"' not in value:
        return Rejection(DeadReason.INVALID, str(why_not_bare))
    try:
        event = _cloud_event.decode(value)
        if event.data_base64 is None:
            data = bytes(event.data)
        else:
            data = base64.b64decode(event.data_base64, validate=True)
            data.decode()
        if not data:
            return Rejection(DeadReason.INVALID, "the CloudEvent has neither `data` nor `data_base64`")
        if _too_deep(data):
            return Rejection(DeadReason.INVALID, f"CloudEvent: nested deeper than {MAX_DEPTH} levels")
        trigger = _trigger.decode(data)
    except msgspec.ValidationError as error:
        return Rejection(DeadReason.INVALID, f"CloudEvent: {error}")
    except (msgspec.DecodeError, ValueError) as error:  # bad base64 and bad UTF-8 are ValueErrors
        return Rejection(DeadReason.INVALID, f"the CloudEvent's data is not a JSON object: {error}")
    return _checked(trigger, event.id)


def _with_id_of_header(trigger: Trigger, headers: Sequence[tuple[str, bytes | None]]) -> Trigger | Rejection:
    """CloudEvents binary mode: the header's id, unless the data has one."""
    found = next((content for name, content in headers if name == _CE_ID), None)
    try:
        return _checked(trigger, None if found is None else found.decode())
    except UnicodeDecodeError:
        # No replacement characters: two different ids could become equal.
        return Rejection(DeadReason.INVALID, f"the header `{_CE_ID}` is not UTF-8")


def _checked(trigger: Trigger, fallback_id: str | None) -> Trigger | Rejection:
    if trigger.id is None:
        if not fallback_id or len(fallback_id) > 128:
            return Rejection(DeadReason.INVALID, "Object missing required field `id` (1 to 128 characters)")
        trigger = msgspec.structs.replace(trigger, id=fallback_id)
    if trigger.template is None and (trigger.title is None or trigger.body is None):
        return Rejection(DeadReason.INVALID, "either `template`, or `title` and `body`, must be given")
    if trigger.channels is not None and not trigger.channels:
        return Rejection(DeadReason.INVALID, "`channels` is empty; leave it out for all that the category allows")
    if trigger.data is not NO_DATA:
        return _with_checked_data(trigger)
    return trigger


def _with_checked_data(trigger: Trigger) -> Trigger | Rejection:
    data = memoryview(trigger.data)
    if data[0] != _BRACE:
        if bytes(data) != b"null":
            return Rejection(DeadReason.INVALID, "`data` must be a JSON object")
        return msgspec.structs.replace(trigger, data=NO_DATA)
    try:
        # Channel workers decode it. What they cannot decode (1e999) is refused here, where the sender learns of it.
        _anything.decode(data)
    except msgspec.ValidationError as error:
        return Rejection(DeadReason.INVALID, f"`data`: {error}")
    return trigger


def _too_deep(value: bytes) -> bool:
    """Whether brackets nest deeper than `MAX_DEPTH`. Short values cannot, few brackets neither; the rest is counted."""
    if len(value) <= 2 * MAX_DEPTH or value.count(b"{") + value.count(b"[") <= MAX_DEPTH:
        return False
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", value)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False
