"""Records about users: preference updates, contacts, sign-ups, locations."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import msgspec

from notify_streams.records.names import Name, name_fault
from notify_streams.records.outcomes import DeadReason
from notify_streams.records.trigger import Rejection
from notify_streams.roles import Channel

if TYPE_CHECKING:
    from collections.abc import Callable

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
#: Every counter that arrives in a record is at most this: JSON readers and databases keep such numbers exactly.
MAX_COUNTER: Final = 2**53 - 1
Counter = Annotated[int, msgspec.Meta(ge=1, le=MAX_COUNTER)]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]


class PreferenceUpdate(msgspec.Struct, frozen=True, gc=False):
    """One choice of one person; the latest `updated_at` of a category and channel wins."""

    user_id: Name
    category: Name
    channel: Channel
    opted_in: bool
    updated_at: Instant


class Contacts(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """How a person is reached; a record replaces the earlier one whole, the latest `updated_at` wins.

    `push` is the app instance's token, `sms` an E.164 number, `email` an address (RFC 5321).
    """

    user_id: Name
    updated_at: Instant
    push: _Text | None = None
    sms: Annotated[str, msgspec.Meta(pattern=r"^\+[1-9][0-9]{6,14}$")] | None = None
    email: Annotated[str, msgspec.Meta(pattern=r"^[^@\s]+@[^@\s]+$", max_length=254)] | None = None


class ContactRow(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A row of the table `contacts`. The addresses were checked before they were stored."""

    #: Of two rows of a user the one with the higher version is newer.
    version: int
    push: str | None = None
    sms: str | None = None
    email: str | None = None


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
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        held = row_of(partition, key)
        return (key, value) if held is None or decode_contact_row(held).version <= version else None

    return decode


class Signup(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A person who signs up in, or moves to, a home region; `version` grows with each move."""

    user_id: Name
    region: _Text
    updated_at: Instant
    version: Counter = 1
    locale: str = "en"
    time_zone: str = "UTC"
    standby: str | None = None


class LocationRecord(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The value of `user_locations`: a person's home region. A record without a value means that the person was deleted."""

    user_id: Name
    region: _Text
    version: Counter = 1
    #: The previous home region while a move is in progress.
    previous: str | None = None


encode_location_record = msgspec.json.Encoder().encode
decode_location_record = msgspec.json.Decoder(LocationRecord).decode


#: A record about a person has a few hundred bytes, and is kept whole in tables and their changelogs: more than this is a mistake.
MAX_BYTES: Final = 64 * 1024

Record = TypeVar("Record", bound=msgspec.Struct)
_TIMES: Final = ("at", "updated_at")
#: Fields of the type `Name`.
_NAMES: Final = ("user_id", "category", "delivery_id")


def record_reader(record: type[Record]) -> Callable[[bytes | None], Record | Rejection]:
    """A decoder: a record's value → a `record`, or why it is refused."""
    decode = msgspec.json.Decoder(record).decode
    times = [name for name in record.__struct_fields__ if name in _TIMES]
    names = [name for name in record.__struct_fields__ if name in _NAMES]

    def read(value: bytes | None) -> Record | Rejection:
        if not value:
            return Rejection(DeadReason.NOT_JSON, "the record has no value")
        if len(value) > MAX_BYTES:
            return Rejection(DeadReason.TOO_LARGE, f"the value has {len(value)} bytes, the limit is {MAX_BYTES}")
        try:
            found = decode(value)
        except msgspec.ValidationError as error:
            return Rejection(DeadReason.INVALID, str(error))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return Rejection(DeadReason.NOT_JSON, f"the value is not JSON: {error}")
        for name in names:
            if fault := name_fault(name, getattr(found, name)):
                return Rejection(DeadReason.INVALID, fault)
        for name in times:
            # Outside these years a time with an offset cannot be converted to UTC, and databases refuse it.
            if not 1 < getattr(found, name).year < 9999:
                return Rejection(DeadReason.INVALID, f"`{name}` is outside the years 2 to 9998")
        return found

    return read


read_preference_update = record_reader(PreferenceUpdate)
read_contacts = record_reader(Contacts)
read_signup = record_reader(Signup)
