"""What the audit reads, in files by a hash: one part at a time is in memory.

All rows about one delivery are in the same part, and all about one source record, so each part is compared for itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeVar
from zlib import crc32

import msgspec

from notify_streams.delivery.attempts import delivery_digest, digest_of

_BUFFERED: Final = 32 * 1024 * 1024
_KINDS: Final = 6
#: A part of so many rows takes about 50 MB while it is compared.
ROWS: Final = 100_000
_MOST_PARTS: Final = 1024
HANDED_TO: Final = "handed to "
#: MessagePack, array 32: so that the rows that follow, one after the other, are one list.
_LIST: Final = b"\xdd"


class _Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One row of one kind."""


class DeliveryRow(_Row, frozen=True):
    """A delivery as it was decided."""

    key: bytes
    id: str
    topic: str
    state: str
    reason: str | None
    #: Unix seconds.
    decided_at: float
    bucket: int = 0
    #: The upstream system, if the ends of its deliveries have events; else empty.
    events_of: str = ""

    @property
    def hash(self) -> int:
        return _hash(digest_of(self.key))


class AttemptRow(_Row, frozen=True):
    """An attempt document."""

    id: bytes
    packed: bytes

    @property
    def hash(self) -> int:
        return _hash(digest_of(self.id))


class MessageRow(_Row, frozen=True):
    """A channel message in its topic."""

    topic: str
    id: str
    #: It was decided after the database was read.
    is_after_fence: bool
    #: The notification may have been deleted by its time to live.
    may_have_expired: bool = False
    #: The bucket whose ledger had passed it when the database was read; None: it was not taken yet.
    taken_by: int | None = None

    @property
    def hash(self) -> int:
        return _hash(delivery_digest(self.id))


class AcceptedRow(_Row, frozen=True):
    """A line of the provider log."""

    id: str
    to_sha: str
    marked: bool
    #: Accepted before the region was restored from backups, which may not have it.
    is_before_restore: bool = False
    #: See `MessageRow`.
    may_have_expired: bool = False

    @property
    def hash(self) -> int:
        return _hash(delivery_digest(self.id))


class EventRow(_Row, frozen=True):
    """A notification event in its topic."""

    #: See `notification_event.event_id`.
    id: str

    @property
    def hash(self) -> int:
        return _hash(delivery_digest(self.id.rsplit(":", 2)[0]))


class SourceRow(_Row, frozen=True):
    """A record that names a source record, or is one."""

    #: dead, forwarded, waited, arrived, astray, claim, or `HANDED_TO` and a region
    kind: str
    source: str
    #: Of the value.
    crc: int = 0
    #: Of a record that is `HANDED_TO` another region: its partition, and when it was appended (Unix seconds).
    partition: int = 0
    at: float = 0.0

    @property
    def hash(self) -> int:
        return crc32(self.source.encode("utf-8", "surrogateescape"))


_R = TypeVar("_R", bound=_Row)
Row = DeliveryRow | AttemptRow | MessageRow | AcceptedRow | EventRow | SourceRow


def parts_for(rows: int) -> int:
    """How many parts so many rows need."""
    return min(_MOST_PARTS, 1 + rows // ROWS)


class Parts:
    """The rows of one region. Call `write` before the first `read`."""

    def __init__(self, folder: Path, count: int, *, buffered: int = _BUFFERED) -> None:
        """`buffered`: bytes in memory before they are written."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.count = count
        self._limit = buffered // (count * _KINDS)
        self._encoder = msgspec.msgpack.Encoder()
        #: By kind and part: the number of rows, and the rows.
        self._buffers: dict[tuple[str, int], tuple[list[int], bytearray]] = {}

    def add(self, row: Row) -> None:
        place = type(row).__name__, row.hash % self.count
        count, buffer = self._buffers.get(place) or self._buffers.setdefault(place, ([0], bytearray()))
        self._encoder.encode_into(row, buffer, -1)
        count[0] += 1
        if len(buffer) >= self._limit:
            self._append(place)

    def write(self) -> None:
        """Write what is still in memory."""
        for place in list(self._buffers):
            self._append(place)

    def read(self, kind: type[_R], part: int) -> Iterator[_R]:
        """The rows of a kind in a part."""
        path = self._path(kind.__name__, part)
        if not path.exists():
            return
        decode: Any = msgspec.msgpack.Decoder(list[kind]).decode  # type: ignore[valid-type]  # a type of run time
        with path.open("rb") as file:
            while size := file.read(4):
                yield from decode(file.read(int.from_bytes(size, "big")))

    def _append(self, place: tuple[str, int]) -> None:
        (count,), buffer = self._buffers.pop(place)
        head = _LIST + count.to_bytes(4, "big")
        with self._path(*place).open("ab") as file:
            file.write((len(head) + len(buffer)).to_bytes(4, "big") + head + buffer)

    def _path(self, kind: str, part: int) -> Path:
        return self._folder / f"{kind}-{part}"


def _hash(digest: bytes) -> int:
    return int.from_bytes(digest[:4], "big")
