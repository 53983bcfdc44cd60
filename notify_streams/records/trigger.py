"""Decodes and validates triggers: JSON and CloudEvents (structured, binary).

CloudEvents: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from __future__ import annotations

import base64
import re
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from notify_streams.field_errors import DECODE_ERRORS, problem_of
from notify_streams.records.json_depth import deeper_than
from notify_streams.records.names import MAX_LENGTH, Name, is_reserved, name_fault
from notify_streams.records.outcomes import DeadReason
from notify_streams.roles import CHANNELS, Channel

if TYPE_CHECKING:
    from collections.abc import Sequence

#: A title is also the subject of a mail, and a mail's header has an end.
#: Of a trigger and of a template; it is also the subject of a mail.
MAX_TITLE: Final = 1000
_Title = Annotated[str, msgspec.Meta(max_length=MAX_TITLE)]
#: APNs takes 64 bytes as `apns-collapse-id`, which is a header; FCM names no limit.
_CollapseKey = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
_Instant = Annotated[datetime, msgspec.Meta(tz=True)]

CRITICAL_HEADER: Final = "critical"
_CE_ID: Final = "ce_id"
_CE_SOURCE: Final = "ce_source"
_MAX_SOURCE: Final = 512
_SAYS_CRITICAL: Final = re.compile(rb'"isCritical"[ \t\r\n]*:[ \t\r\n]*true')
#: May hide the word from a scan of bytes: an escape, or base64.
_HIDING: Final = (rb"\u", b'"data_base64"')

#: Maximum nesting. A decoder's own limit depends on the call depth, and both router roles must agree.
MAX_DEPTH: Final = 200
_BOM: Final = b"\xef\xbb\xbf"


#: No data. A single object: the encoder omits a default only if it is identical.
NO_DATA: Final = msgspec.Raw()


#: The JSON name of a field that no record sets.
_NO_FIELD: Final = "(source of the CloudEvent)"


class Trigger(msgspec.Struct, frozen=True, gc=False, rename={"is_critical": "isCritical", "source": _NO_FIELD}):
    """A request to notify one user."""

    user_id: Name
    category: Name
    id: Name | None = None
    is_critical: bool = False
    #: None: all channels of the category. Once read: each once, in the order of `CHANNELS`.
    channels: tuple[Channel, ...] | None = None
    template: Name | None = None
    #: A JSON object, passed on undecoded; `NO_DATA` if there is none.
    data: msgspec.Raw = NO_DATA
    title: _Title | None = None
    body: str | None = None
    created_at: _Instant | None = None
    expires_at: _Instant | None = None
    collapse_key: _CollapseKey | None = None
    test: bool = False
    #: The CloudEvent's `source`, never empty; None without one.
    source: str | None = None


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """Why a record is refused, in a sentence for its sender."""

    reason: DeadReason
    detail: str


class _CloudEvent(msgspec.Struct, frozen=True, gc=False):
    id: str
    source: str = ""
    data: msgspec.Raw = msgspec.Raw()
    data_base64: str | None = None


_trigger = msgspec.json.Decoder(Trigger)
_cloud_event = msgspec.json.Decoder(_CloudEvent)
_data = msgspec.json.Decoder(dict[str, Any] | None)
_names = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NULL: Final = msgspec.Raw(b"null")


def read_trigger(value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> Trigger | Rejection:
    """Decode and validate one record. The result's `id` is not None; `data`, if present, is a JSON object that can be decoded."""
    if not value:
        return Rejection(DeadReason.NOT_JSON, "the record has no value; a trigger is a JSON object")
    try:
        if not value.isascii():
            value.decode()  # the decoder does not check the bytes of `Raw` fields
        if deeper_than(MAX_DEPTH, value):
            return Rejection(DeadReason.INVALID, f"nested deeper than {MAX_DEPTH} levels")
        trigger = _trigger.decode(value)
    except msgspec.ValidationError as error:
        return _read_enveloped(value, error)
    except DECODE_ERRORS as error:
        if value.startswith(_BOM):
            return Rejection(DeadReason.NOT_JSON, "the value is not JSON: it begins with a byte order mark")
        return Rejection(DeadReason.NOT_JSON, problem_of(error).sentence("the value"))
    if headers or trigger.id is None:
        return _with_headers(trigger, headers)
    return _checked(trigger, None, "")


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


def missing_names(data: msgspec.Raw, required: frozenset[str]) -> list[str]:
    """Those of the names that a trigger's `data` does not have, or has with null; sorted. Values are not decoded."""
    found = _names.decode(data) if data is not NO_DATA else {}
    if required <= found.keys() and all(found[name] != _NULL for name in required):
        return []
    return sorted(name for name in required if found.get(name, _NULL) == _NULL)


def _read_enveloped(value: bytes, why_not_bare: msgspec.ValidationError) -> Trigger | Rejection:
    if b'"specversion"' not in value:
        return Rejection(DeadReason.INVALID, problem_of(why_not_bare, Trigger).sentence("the trigger"))
    try:
        event = _cloud_event.decode(value)
        if event.data_base64 is None:
            data = bytes(event.data)
        else:
            data = base64.b64decode(event.data_base64, validate=True)
            data.decode()
    except msgspec.ValidationError as error:
        return Rejection(DeadReason.INVALID, f"CloudEvent: {problem_of(error, _CloudEvent).sentence('it')}")
    except ValueError:
        return Rejection(DeadReason.INVALID, "CloudEvent: `data_base64` must be base64 of JSON in UTF-8")
    if not data:
        return Rejection(DeadReason.INVALID, "the CloudEvent has neither `data` nor `data_base64`")
    try:
        if deeper_than(MAX_DEPTH, data):
            return Rejection(DeadReason.INVALID, f"CloudEvent: nested deeper than {MAX_DEPTH} levels")
        trigger = _trigger.decode(data)
    except msgspec.DecodeError as error:
        return Rejection(DeadReason.INVALID, f"CloudEvent: {problem_of(error, Trigger).inside('data').sentence('it')}")
    return _checked(trigger, event.id, event.source)


def _with_headers(trigger: Trigger, headers: Sequence[tuple[str, bytes | None]]) -> Trigger | Rejection:
    """CloudEvents binary mode: the source of the headers, and their id, unless the data has one."""
    event_id, source = None, b""
    for name, content in headers:
        if name == _CE_ID:
            event_id = content if event_id is None else event_id
        elif name == _CE_SOURCE:
            source = source or content or b""
    try:
        return _checked(trigger, None if event_id is None else event_id.decode(), source.decode())
    except UnicodeDecodeError:
        # No replacement characters: two different ids could become equal.
        return Rejection(DeadReason.INVALID, f"the header `{_CE_ID}` or `{_CE_SOURCE}` is not UTF-8")


def _checked(trigger: Trigger, fallback_id: str | None, source: str) -> Trigger | Rejection:
    if source or trigger.source is not None:
        if len(source) > _MAX_SOURCE:
            return Rejection(DeadReason.INVALID, f"the CloudEvent's `source` has more than {_MAX_SOURCE} characters")
        trigger = msgspec.structs.replace(trigger, source=source or None)
    if trigger.id is None:
        if not fallback_id or len(fallback_id) > MAX_LENGTH:
            return Rejection(DeadReason.INVALID, f"`id` is missing: a text of 1 to {MAX_LENGTH} characters")
        trigger = msgspec.structs.replace(trigger, id=fallback_id)
    if fault := _fault(trigger):
        return Rejection(DeadReason.INVALID, fault)
    channels, data = trigger.channels, trigger.data
    if channels is not None:
        channels = tuple(channel for channel in CHANNELS if channel in channels)
    if data is not NO_DATA and bytes(data) == b"null":
        data = NO_DATA
    if data is trigger.data and channels == trigger.channels:
        return trigger
    return msgspec.structs.replace(trigger, channels=channels, data=data)


def _fault(trigger: Trigger) -> str | None:
    """What the types of the fields do not say. Category and template need no `name_fault`: they must be configured names."""
    if fault := name_fault("id", trigger.id or "") or name_fault("user_id", trigger.user_id):
        return fault
    if trigger.template is None and (trigger.title is None or trigger.body is None):
        return "either `template`, or `title` and `body`, must be given"
    if trigger.channels is not None and not trigger.channels:
        return "`channels` is empty; leave it out for all that the category allows"
    for at in (trigger.created_at, trigger.expires_at):
        if at is not None and not 1 < at.year < 9999:
            return "`created_at` or `expires_at` is outside the years 2 to 9998"
    key = trigger.collapse_key
    if key is not None and not (key.isascii() and key.isprintable()):
        return "`collapse_key` has a character that is not printable ASCII"
    return None if trigger.data is NO_DATA else _data_fault(trigger.data)


def _undecodable(data: msgspec.Raw) -> str | None:
    """What is wrong with the first value of `data` that cannot be decoded; None if `data` is no object."""
    try:
        values = _names.decode(data)
    except msgspec.ValidationError:
        return None
    for name, value in values.items():
        try:
            msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            return problem_of(error).inside(f"data.{name[:MAX_LENGTH]}").sentence("it")
    return None


def _data_fault(data: msgspec.Raw) -> str | None:
    """Why `data` is refused. What channel workers could not decode (1e999) is, here, where the sender learns of it."""
    try:
        content = _data.decode(data)
    except msgspec.ValidationError as error:
        return _undecodable(data) or problem_of(error, dict[str, Any]).inside("data").sentence("it")
    if reserved := next(filter(is_reserved, content or ()), None):
        return f"`data` has the reserved name {reserved[:MAX_LENGTH]!r}"
    return None
