"""Imports preference updates from JSON lines; resumes at a checkpoint.

The order of updates does not matter (the latest `updated_at` wins) and a repeated update changes nothing. So several batches are
written concurrently, and after a crash those that no checkpoint covers are written again.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import IO, TYPE_CHECKING, Final

import msgspec

from notify_streams import tasks
from notify_streams.errors import Refused
from notify_streams.records.choice_sources import ChoiceSource
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import PreferenceUpdate, read_preference_update

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator
    from pathlib import Path

    from notify_streams.preferences.writer import PreferenceWriter

_BATCH_LINES: Final = 4_000
_CONCURRENT_BATCHES: Final = 4
_FINGERPRINT_BYTES: Final = 4_096
_MAX_LINE_BYTES: Final = 64 * 1024

#: The number of a line (1 is the first) that was not imported, and why.
BadLine = tuple[int, str]


class ImportProgress(msgspec.Struct, frozen=True):
    """How far an import is; the content of a checkpoint file."""

    #: Bytes and lines done, from the beginning of the file.
    offset: int = 0
    lines: int = 0
    applied: int = 0
    bad: int = 0
    #: Tells whether a checkpoint belongs to this file.
    fingerprint: str = ""


@dataclass(slots=True)
class LineBatch:
    """Consecutive lines of the file."""

    #: Byte offset and line count at the end of the batch, from the beginning of the file.
    offset: int
    lines: int
    #: Updates with their buckets, and the line number of each.
    updates: list[tuple[int, PreferenceUpdate]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)


async def import_file(
    path: Path,
    writer: PreferenceWriter,
    bucket_of: Callable[[str], int],
    *,
    checkpoint: Path | None = None,
    on_bad_line: Callable[[int, str], None] = lambda number, why: None,
    on_progress: Callable[[ImportProgress], None] = lambda progress: None,
    batch_lines: int = _BATCH_LINES,
) -> ImportProgress:
    """Import `path` from where `checkpoint` says, or from its beginning.

    An invalid line is reported and counted, and the import continues. The checkpoint is saved after each batch that is durable and
    published, and is removed at the end. `on_progress` is called after each batch.

    Raises:
        Refused: the checkpoint belongs to another file.
        RetryLater: a store or Kafka did not answer. Run the import again: it resumes at the checkpoint.
    """
    progress = _resume(checkpoint, await asyncio.to_thread(_fingerprint, path))
    with path.open("rb") as file:
        file.seek(progress.offset)
        batches = read_batches(file, progress.lines, bucket_of, batch_lines)
        async with aclosing(_write_all(batches, writer)) as written:
            async for batch, rejected in written:
                for number, why in sorted(batch.bad + rejected):
                    on_bad_line(number, why)
                progress = ImportProgress(
                    batch.offset,
                    batch.lines,
                    progress.applied + len(batch.updates) - len(rejected),
                    progress.bad + len(batch.bad) + len(rejected),
                    progress.fingerprint,
                )
                if checkpoint is not None:
                    _save(checkpoint, progress)
                on_progress(progress)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)  # noqa: ASYNC240 - a command's own small file
    return progress


def read_batches(file: IO[bytes], lines: int, bucket_of: Callable[[str], int], size: int) -> Iterator[LineBatch]:
    """The rest of `file`, of which `lines` lines were read, in batches of `size` lines."""
    batch = LineBatch(file.tell(), lines)
    while line := file.readline(_MAX_LINE_BYTES):
        batch.lines += 1
        if len(line) == _MAX_LINE_BYTES and not line.endswith(b"\n"):
            _skip_line(file)
            batch.bad.append((batch.lines, f"longer than {_MAX_LINE_BYTES} bytes"))
        elif line.strip():
            update = read_preference_update(line, int(time.time() * 1000))
            if isinstance(update, Rejection):
                batch.bad.append((batch.lines, update.detail))
            else:
                if update.source is ChoiceSource.APP:
                    update = msgspec.structs.replace(update, source=ChoiceSource.IMPORT)
                batch.updates.append((bucket_of(update.user_id), update))
                batch.numbers.append(batch.lines)
        if batch.lines - lines == size:
            batch.offset, lines = file.tell(), batch.lines
            yield batch
            batch = LineBatch(batch.offset, lines)
    if batch.lines > lines:
        batch.offset = file.tell()
        yield batch


def _skip_line(file: IO[bytes]) -> None:
    while (rest := file.readline(_MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
        pass


async def _write_all(
    batches: Iterable[LineBatch], writer: PreferenceWriter
) -> AsyncGenerator[tuple[LineBatch, list[BadLine]], None]:
    """Batches in their order, each when it is durable and published, with the lines that the writer rejected."""
    writing: deque[asyncio.Task[tuple[LineBatch, list[BadLine]]]] = deque()
    try:
        for batch in batches:
            writing.append(asyncio.create_task(_write(batch, writer)))
            await asyncio.sleep(0)
            if len(writing) == _CONCURRENT_BATCHES:
                yield await writing.popleft()
        while writing:
            yield await writing.popleft()
    finally:
        await tasks.stop(writing)
        await asyncio.gather(*writing, return_exceptions=True)  # asyncio logs errors that are never retrieved


async def _write(batch: LineBatch, writer: PreferenceWriter) -> tuple[LineBatch, list[BadLine]]:
    rejected = await writer.import_updates(batch.updates) if batch.updates else []
    return batch, [(batch.numbers[index], rejection.detail) for index, rejection in rejected]


def _fingerprint(path: Path) -> str:
    with path.open("rb") as file:
        return blake2b(file.read(_FINGERPRINT_BYTES), digest_size=16).hexdigest()


def _resume(checkpoint: Path | None, fingerprint: str) -> ImportProgress:
    if checkpoint is None or not checkpoint.exists():
        return ImportProgress(fingerprint=fingerprint)
    try:
        saved = msgspec.json.decode(checkpoint.read_bytes(), type=ImportProgress)
    except msgspec.DecodeError as error:
        raise Refused(f"{checkpoint} is no checkpoint of an import; remove it to start over") from error
    if saved.fingerprint != fingerprint:
        raise Refused(f"{checkpoint} belongs to another file; remove it to start over")
    return saved


def _save(checkpoint: Path, progress: ImportProgress) -> None:
    new = checkpoint.with_name(checkpoint.name + ".new")
    new.write_bytes(msgspec.json.encode(progress))
    new.replace(checkpoint)
