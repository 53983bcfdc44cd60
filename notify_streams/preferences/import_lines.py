"""A file of preference updates, one JSON object a line, as batches that know where they end. No database, no network."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import IO, TYPE_CHECKING, Final

from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import PreferenceUpdate, read_preference_update

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_FINGERPRINT_BYTES: Final = 4_096
_LONGEST_LINE: Final = 64 * 1024


@dataclass(slots=True)
class LineBatch:
    """Some lines of the file."""

    #: Byte offset and number of lines at the batch's end, counted from the beginning of the file.
    offset: int
    lines: int
    #: Updates with their buckets, and the line of each.
    updates: list[tuple[int, PreferenceUpdate]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    #: Lines that are no updates, and why.
    bad: list[tuple[int, str]] = field(default_factory=list)


def read_batches(file: IO[bytes], lines: int, bucket_of: Callable[[str], int], size: int) -> Iterator[LineBatch]:
    """The rest of `file`, of which `lines` lines were read, in batches of `size` lines."""
    batch = LineBatch(file.tell(), lines)
    while line := file.readline(_LONGEST_LINE):
        batch.lines += 1
        if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
            _skip_line(file)
            batch.bad.append((batch.lines, f"longer than {_LONGEST_LINE} bytes"))
        elif line.strip():
            update = read_preference_update(line)
            if isinstance(update, Rejection):
                batch.bad.append((batch.lines, update.detail))
            else:
                batch.updates.append((bucket_of(update.user_id), update))
                batch.numbers.append(batch.lines)
        if batch.lines - lines == size:
            batch.offset, lines = file.tell(), batch.lines
            yield batch
            batch = LineBatch(batch.offset, lines)
    if batch.lines > lines:
        batch.offset = file.tell()
        yield batch


def fingerprint(path: Path) -> str:
    """Tells one import file from another by how it begins."""
    with path.open("rb") as file:
        return blake2b(file.read(_FINGERPRINT_BYTES), digest_size=16).hexdigest()


def _skip_line(file: IO[bytes]) -> None:
    while (rest := file.readline(_LONGEST_LINE)) and not rest.endswith(b"\n"):
        pass
