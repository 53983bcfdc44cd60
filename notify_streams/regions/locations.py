"""Packs a user's location into a table row of twelve bytes.

A row is ``version | settled | region | previous | bucket``, big end first, so that the newer of two rows is the larger one, in whatever order
they arrive: first by version, then a record that ends a move wins, then, for two sign-ups of one version, the region's index in the
settings, so that all regions choose the same one. There are few different rows (regions x buckets x versions) and equal rows are one
object: a user costs a table in memory a pointer and the key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams.field_errors import DECODE_ERRORS
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.user_records import decode_location_record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_BUCKET_BITS: Final = 20
_REGION_BITS: Final = 6
_PREVIOUS_AT: Final = _BUCKET_BITS
_REGION_AT: Final = _PREVIOUS_AT + _REGION_BITS
_SETTLED_AT: Final = _REGION_AT + _REGION_BITS
_VERSION_AT: Final = _SETTLED_AT + 1
_ROW_BYTES: Final = 12
_BUCKET: Final = (1 << _BUCKET_BITS) - 1
_REGION: Final = (1 << _REGION_BITS) - 1
MAX_REGIONS: Final = _REGION  # index 0 means "none"
#: Different rows that are kept as objects. More than regions have by themselves, but a client chooses the versions of its users.
_KEPT_ROWS: Final = 100_000


class Location(msgspec.Struct, frozen=True, gc=False):
    """A row, unpacked."""

    region: str
    bucket: int
    version: int
    #: The previous home, while triggers may still be known there by their id (`next_hop`).
    previous: str | None


class LocationCodec:
    """Packs and unpacks rows for one list of regions. Regions may be appended to the list; the others keep their index."""

    def __init__(self, regions: Sequence[str], partitions: int) -> None:
        if len(regions) > MAX_REGIONS:
            raise ValueError(f"{len(regions)} regions; a row can hold {MAX_REGIONS}")
        self._partitions = partitions
        self._regions = (None, *regions)
        self._index: dict[str | None, int] = {name: index for index, name in enumerate(self._regions)}
        self._shared: dict[bytes, bytes] = {}
        self._unpacked: dict[bytes, Location] = {}

    def pack(self, region: str, bucket: int, version: int, previous: str | None = None) -> bytes:
        """The row, the same object for equal rows.

        Raises:
            KeyError: a region that the settings do not name.
            ValueError: a bucket or version that does not fit.
        """
        if not (0 <= bucket <= _BUCKET and version >= 1):
            raise ValueError(f"bucket {bucket}, version {version} do not fit into a row")
        number = (
            version << _VERSION_AT
            | (previous is None) << _SETTLED_AT
            | self._index[region] << _REGION_AT
            | self._index[previous] << _PREVIOUS_AT
            | bucket
        )
        row = number.to_bytes(_ROW_BYTES, "big")
        if len(self._shared) >= _KEPT_ROWS:
            self._shared.clear()
        return self._shared.setdefault(row, row)

    def unpack(self, row: bytes) -> Location:
        """The location in a row; cached, since there are few different rows."""
        found = self._unpacked.get(row)
        if found is None:
            number = int.from_bytes(row, "big")
            region = self._regions[number >> _REGION_AT & _REGION]
            assert region is not None
            if len(self._unpacked) >= _KEPT_ROWS:
                self._unpacked.clear()
            previous = self._regions[number >> _PREVIOUS_AT & _REGION]
            found = self._unpacked[row] = Location(region, number & _BUCKET, number >> _VERSION_AT, previous)
        return found

    def decode(self, key: bytes, value: bytes | None, partition: int) -> tuple[bytes, bytes | None] | None:
        """A record of `user_locations` as (key, row). None: skip it, it is invalid, its region unknown, or it lies in a foreign partition."""
        try:
            if value is None:
                return key, None
            bucket = bucket_of(key.decode(), self._partitions)
            record = decode_location_record(value)
            return (
                (key, self.pack(record.region, bucket, record.version, record.previous))
                if bucket == partition
                else None
            )
        except (*DECODE_ERRORS, KeyError, ValueError):
            return None

    def newest(
        self, row_of: Callable[[int, bytes], bytes | None]
    ) -> Callable[[bytes, bytes | None, int], tuple[bytes, bytes | None] | None]:
        """`decode` for a table; skips records that are older than the table's row (`row_of`).

        Records of two regions can arrive in either order, so the topic's last record need not be the newest.
        """
        decode = self.decode

        def decode_newer(key: bytes, value: bytes | None, partition: int) -> tuple[bytes, bytes | None] | None:
            found = decode(key, value, partition)
            if found is not None and found[1] is not None and (row_of(partition, key) or b"") > found[1]:
                return None
            return found

        return decode_newer
