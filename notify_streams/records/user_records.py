"""Records about users: choices, contacts, sign-ups, locations, erasures.

A decoder takes a record's value and the time at which it arrived, and returns the record or the reason why it is refused; it raises
nothing, whatever the bytes. Every field is bounded by the narrowest store behind it. A time later than the arrival becomes the arrival: a
clock that is ahead, or a forged time, must not win over what comes later. What is stored or handed on is the encoded record, not the bytes
that arrived, so that its time stays the same wherever and however often it is read.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar
from zoneinfo import available_timezones

import msgspec

from notify_streams.field_errors import DECODE_ERRORS, problem_of
from notify_streams.records.address_ids import ADDRESS_PREFIX, is_address_id
from notify_streams.records.addresses import is_mail_address, is_phone_number, is_push_token
from notify_streams.records.choice_sources import ChoiceSource
from notify_streams.records.devices import Devices, SomeDevices, checked_devices, only_token
from notify_streams.records.names import Name, name_fault
from notify_streams.records.outcomes import DeadReason
from notify_streams.records.trigger import Rejection
from notify_streams.roles import Channel

if TYPE_CHECKING:
    from collections.abc import Callable

    from notify_streams.records.batch import SourceRecord

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
#: Every counter that arrives in a record is at most this: JSON readers and databases keep such numbers exactly.
MAX_COUNTER: Final = 2**53 - 1
Counter = Annotated[int, msgspec.Meta(ge=1, le=MAX_COUNTER)]
#: BCP 47, also with underscores.
_LOCALE: Final = r"^[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*\Z"
_MAX_LOCALE: Final = 35
#: The same with its limit of length.
_IS_LOCALE: Final = re.compile(rf"(?!.{{{_MAX_LOCALE + 1}}}){_LOCALE}")
_Locale = Annotated[str, msgspec.Meta(pattern=_LOCALE, max_length=_MAX_LOCALE, description="a BCP 47 tag, as pt-BR")]
#: Of a person who has said nothing.
DEFAULT_LOCALE: Final = "en"
DEFAULT_TIME_ZONE: Final = "UTC"

#: Of `PreferenceUpdate.detail`, in characters.
MAX_DETAIL: Final = 256
#: Every category or every channel, in an update that opts out.
ALL: Final = "*"


class PreferenceUpdate(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One choice of one user; the latest `updated_at` of a category and channel wins. `ALL` opts out of all that can be turned off.

    With the id of an address (`records.address_ids`) as `user_id`, `category` is the reason of its suppression.
    """

    user_id: Name
    category: Name
    channel: Channel | Literal["*"]
    opted_in: bool
    updated_at: Instant
    source: ChoiceSource = ChoiceSource.APP
    #: Ids of the message or event by which the choice was made; never an address.
    detail: Annotated[str, msgspec.Meta(max_length=MAX_DETAIL)] = ""


class Contacts(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """How a user is reached, and how texts for them are written; a record replaces the earlier one as a whole, the latest `updated_at` wins.

    `push` is the app instance's token, `sms` an E.164 number, `email` an address (RFC 5321); see `records.addresses`. A person has either
    `push`, which is one device of the region's provider, or `devices`.
    """

    user_id: Name
    updated_at: Instant
    push: str | None = None
    sms: str | None = None
    email: str | None = None
    #: As in `Signup`; None: `DEFAULT_LOCALE`, `DEFAULT_TIME_ZONE`.
    locale: str | None = None
    time_zone: str | None = None
    #: Removes these addresses instead, by channel, where they are still stored with an earlier or the same `updated_at`.
    remove: dict[Channel, str] | None = None
    devices: Devices | None = None


class ContactRow(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A row of the table `contacts`. The addresses were checked before they were stored."""

    #: Of two rows of a user the one with the higher version is newer.
    version: int
    push: str | None = None
    sms: str | None = None
    email: str | None = None
    locale: str | None = None
    time_zone: str | None = None
    #: Without `last_seen`.
    devices: SomeDevices | None = None


decode_contact_row = msgspec.json.Decoder(ContactRow).decode


def newest_contact_row(
    row_of: Callable[[int, bytes], bytes | None],
) -> Callable[[bytes, bytes | None, int], tuple[bytes, bytes | None] | None]:
    """A decoder of the table `contacts`: leaves out rows that are invalid, or older than the table's row (`row_of`)."""

    def decode(key: bytes, value: bytes | None, partition: int) -> tuple[bytes, bytes | None] | None:
        if value is None:
            return key, None
        try:
            version = decode_contact_row(value).version
        except DECODE_ERRORS:
            return None
        held = row_of(partition, key)
        return (key, value) if held is None or decode_contact_row(held).version <= version else None

    return decode


class Signup(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A user who signs up in, or moves to, a home region; `version` grows with each move."""

    user_id: Name
    region: Name
    updated_at: Instant
    version: Counter = 1
    locale: _Locale = DEFAULT_LOCALE
    time_zone: str = DEFAULT_TIME_ZONE
    standby: Name | None = None


class Erasure(msgspec.Struct, frozen=True, gc=False):
    """A request to erase a person, made at `updated_at`."""

    user_id: Name
    updated_at: Instant


class LocationRecord(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The value of `user_locations`: a user's home region. A record without a value means that the user was deleted."""

    user_id: Name
    region: Name
    version: Counter = 1
    #: The previous home region while a move is in progress.
    previous: Name | None = None


encode_record = msgspec.json.Encoder().encode
decode_location_record = msgspec.json.Decoder(LocationRecord).decode

#: A record about a user has a few hundred bytes, and is kept in tables and their changelogs: more than this is a mistake.
MAX_BYTES: Final = 64 * 1024
#: A stored time that is further ahead than two clocks may differ was written before times were bounded by the arrival.
MAX_CLOCK_SKEW: Final = timedelta(minutes=5)

Record = TypeVar("Record", bound=msgspec.Struct)
#: Fields of the type `Name`.
_NAMES: Final = ("user_id", "category", "delivery_id", "detail")
#: Fields of `Contacts` that an empty text removes.
_REMOVABLE: Final = ("push", "sms", "email", "locale", "time_zone")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def arrival_ms(record: SourceRecord, now_ms: int) -> int:
    """When a record reached Kafka: its timestamp (the topics have `LogAppendTime`), or now if that is missing or ahead."""
    return record.timestamp if 0 < record.timestamp <= now_ms else now_ms


def record_decoder(
    record: type[Record], check: Callable[[Record], Record | Rejection] = lambda found: found
) -> Callable[[bytes | None, int], Record | Rejection]:
    """A decoder for `record`: (value, arrival in ms since the epoch) → the record, or why it is refused.

    Args:
        check: what the fields' types do not say; returns the record to use.
    """
    decode = msgspec.json.Decoder(record).decode
    time = next(name for name in record.__struct_fields__ if name in ("at", "updated_at"))
    names = [name for name in record.__struct_fields__ if name in _NAMES]

    def read(value: bytes | None, arrival_ms: int) -> Record | Rejection:
        if not value:
            return Rejection(DeadReason.NOT_JSON, "the record has no value")
        if len(value) > MAX_BYTES:
            return Rejection(DeadReason.TOO_LARGE, f"the value has {len(value)} bytes, the limit is {MAX_BYTES}")
        try:
            if not value.isascii():
                value.decode()  # the decoder does not check the bytes of unknown fields
            found = decode(value)
        except msgspec.ValidationError as error:
            return _invalid(problem_of(error, record).sentence("the value"))
        except DECODE_ERRORS as error:
            return Rejection(DeadReason.NOT_JSON, problem_of(error).sentence("the value"))
        for name in names:
            if fault := name_fault(name, getattr(found, name)):
                return _invalid(fault)
        at: datetime = getattr(found, time)
        if at < _EPOCH:
            return _invalid(f"`{time}` is before 1970")
        known = min(at, _instant(arrival_ms))
        if known is not at or known.tzinfo is not UTC:
            found = msgspec.structs.replace(found, **{time: known.astimezone(UTC)})
        return check(found)

    return read


def read_contacts(value: bytes | None, arrival_ms: int, key: bytes | None = None) -> Contacts | Rejection:
    """A decoder (`record_decoder`). A record without a value, or with an empty one, removes all contacts of the user that its key names."""
    if value or key is None:
        return _read_contacts(value, arrival_ms)
    try:
        user_id = msgspec.convert(key.decode(), Name)
    except (msgspec.ValidationError, UnicodeDecodeError):
        return _invalid("the record has no value, and its key is not a user id")
    if fault := name_fault("user_id", user_id):
        return _invalid(fault)
    return Contacts(user_id, _instant(arrival_ms))


def _check_update(update: PreferenceUpdate) -> PreferenceUpdate | Rejection:
    if update.opted_in and ALL in (update.category, update.channel):
        return _invalid(f"{ALL!r} is allowed only with `opted_in` false")
    return update


def _check_contacts(contacts: Contacts) -> Contacts | Rejection:
    if contacts.remove is not None and (contacts.push or contacts.devices or contacts.sms or contacts.email):
        return _invalid("`remove` is allowed only without `push`, `devices`, `sms` and `email`")
    if contacts.push and contacts.devices:
        return _invalid("`push` and `devices` are both given: `push` is the short form of one device")
    if contacts.push and not is_push_token(contacts.push):
        return _invalid(
            "`push` is neither a token of 1 to 512 printable ASCII characters nor a Web Push subscription of at most 2,048"
        )
    if contacts.sms and not is_phone_number(contacts.sms):
        return _invalid("`sms` is not an E.164 number: + and 6 to 15 digits")
    if contacts.email and not is_mail_address(contacts.email):
        return _invalid("`email` is not one plain mail address")
    if contacts.locale and not _IS_LOCALE.match(contacts.locale):
        return _invalid("`locale` is not a BCP 47 tag")
    if contacts.time_zone and contacts.time_zone not in _time_zones():
        return _invalid("`time_zone` is not an IANA name")
    changes: dict[str, Any] = {name: None for name in _REMOVABLE if getattr(contacts, name) == ""}
    if contacts.devices is not None:
        devices = checked_devices(contacts.devices, contacts.updated_at, _IS_LOCALE)
        if isinstance(devices, str):
            return _invalid(devices)
        changes |= push_fields(devices) if devices else {"devices": None}
    return msgspec.structs.replace(contacts, **changes) if changes else contacts


def push_fields(devices: Devices) -> dict[str, Any]:
    """The fields of `Contacts` for these devices, in the shortest form."""
    push = only_token(devices)
    return {"push": push, "devices": devices if devices and push is None else None}


def _check_signup(signup: Signup) -> Signup | Rejection:
    if is_address_id(signup.user_id):
        return _invalid(f"`user_id` begins with {ADDRESS_PREFIX!r}, which is reserved")
    if signup.time_zone not in _time_zones():
        return _invalid("`time_zone` is not an IANA name")
    return signup


def _check_erasure(erasure: Erasure) -> Erasure | Rejection:
    # It would remove what stops messages to the address.
    if is_address_id(erasure.user_id):
        return _invalid(f"`user_id` begins with {ADDRESS_PREFIX!r}: that is no person")
    return erasure


def _instant(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _invalid(detail: str) -> Rejection:
    return Rejection(DeadReason.INVALID, detail)


read_preference_update = record_decoder(PreferenceUpdate, _check_update)
read_erasure = record_decoder(Erasure, _check_erasure)
read_signup = record_decoder(Signup, _check_signup)
_read_contacts = record_decoder(Contacts, _check_contacts)
