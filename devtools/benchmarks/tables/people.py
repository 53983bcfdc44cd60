"""People by number, with the rows of each, and tables that read them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from notify_streams.preferences.row_codec import encode_row, newest_row
from notify_streams.records.user_records import newest_contact_row
from notify_streams.regions.locations import LocationCodec
from notify_streams.topics import CONTACT_ROWS, PREFERENCE_ROWS, USER_LOCATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from notify_streams.settings import Settings
    from notify_streams.transport import StoreFactory
    from notify_streams.transport.tables.store import Store

TOPICS: Final = (USER_LOCATIONS, CONTACT_ROWS, PREFERENCE_ROWS)
#: Odd: multiplication with it mixes the numbers without a collision, so that ids come in no order, as they do in life.
_MIX: Final = 0x9E3779B97F4A7C15
_ROWS: Final = tuple(
    encode_row(1, {1: {"push": bool(number & 1)}, 2: {"email": bool(number & 2)}, 3: {"sms": bool(number & 4)}})
    for number in range(8)
)


class Row(NamedTuple):
    """A record as the tables' stores read it."""

    offset: int
    key: bytes
    value: bytes | None
    timestamp: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()


def user_id_of(number: int) -> str:
    """16 characters."""
    return f"{number * _MIX & 0xFFFF_FFFF_FFFF_FFFF:016x}"


def values_of(number: int, user_id: str, region: str) -> tuple[bytes, bytes, bytes]:
    """The values of the person's records on `TOPICS`: location, contacts, choices in three categories."""
    contacts = (
        f'{{"version":1,"push":"{user_id * 9}","sms":"+1555{number:08d}","email":"{user_id}@example.org",'
        f'"locale":"pt-BR","time_zone":"America/Sao_Paulo"}}'
    )
    return f'{{"user_id":"{user_id}","region":"{region}"}}'.encode(), contacts.encode(), _ROWS[number % len(_ROWS)]


def open_tables(settings: Settings, factory: Callable[[str], StoreFactory]) -> Mapping[str, Store]:
    """The stores of `TOPICS`, with the decoders of the modules in `tables/`."""
    stores: dict[str, Store] = {}

    def held(topic: str, bucket: int, key: bytes) -> bytes | None:
        found: bytes | None = stores[topic].get(bucket, key)
        return found

    locations = LocationCodec(settings.regions, settings.partitions)
    for topic, newest in zip(TOPICS, (locations.newest, newest_contact_row, newest_row), strict=True):
        stores[topic] = factory(topic)(newest(partial(held, topic)))
    return stores
