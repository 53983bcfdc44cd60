"""Bulk import of preference updates: a file of JSON lines in, durable choices out; it can be stopped and resumed at any line.

Order does not matter (the latest `updated_at` wins) and repetition changes nothing, so several batches are under way at once and a crash
repeats what no checkpoint covers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams.errors import Refused
from notify_streams.preferences.import_lines import fingerprint, read_batches

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable
    from pathlib import Path

    from notify_streams.preferences.import_lines import LineBatch
    from notify_streams.preferences.writer import PreferenceWriter

_BATCH_LINES: Final = 4_000
_UNDER_WAY: Final = 4


class ImportProgress(msgspec.Struct, frozen=True):
    """How far an import is; also what a checkpoint file holds."""

    #: Bytes and lines done, from the beginning of the file.
    offset: int = 0
    lines: int = 0
    applied: int = 0
    bad: int = 0
    #: Says whether a checkpoint belongs to this file.
    fingerprint: str = ""


#: Told the number of a line (1 is the first) that was not imported, and why.
OnBadLine = Callable[[int, str], None]
#: Told after each batch how far the import is.
OnProgress = Callable[[ImportProgress], None]


async def import_file(
    path: Path,
    writer: PreferenceWriter,
    bucket_of: Callable[[str], int],
    *,
    checkpoint: Path | None = None,
    on_bad_line: OnBadLine = lambda number, why: None,
    on_progress: OnProgress = lambda progress: None,
    batch_lines: int = _BATCH_LINES,
) -> ImportProgress:
    """Import `path` from where `checkpoint` says, or from its beginning.

    A line that is no preference update is reported and counted, and the import goes on. The checkpoint moves after each batch that is
    durable and published, and is removed at the end.

    Raises:
        Refused: the checkpoint belongs to another file.
        RetryLater: a store or Kafka did not answer; run it again, it goes on from the checkpoint.
    """
    progress = _resume(checkpoint, await asyncio.to_thread(fingerprint, path))
    with path.open("rb") as file:
        file.seek(progress.offset)
        batches = read_batches(file, progress.lines, bucket_of, batch_lines)
        async with aclosing(_write_all(batches, writer)) as written:
            async for batch, bad in written:
                for number, why in bad:
                    on_bad_line(number, why)
                progress = ImportProgress(
                    batch.offset,
                    batch.lines,
                    progress.applied + len(batch.updates) - (len(bad) - len(batch.bad)),
                    progress.bad + len(bad),
                    progress.fingerprint,
                )
                if checkpoint is not None:
                    _save(checkpoint, progress)
                on_progress(progress)
    if checkpoint is not None:
        _forget(checkpoint)
    return progress


async def _write_all(
    batches: Iterable[LineBatch], writer: PreferenceWriter
) -> AsyncGenerator[tuple[LineBatch, list[tuple[int, str]]], None]:
    """Batches in their order, each when it is durable and published, with all its bad lines."""
    under_way: deque[asyncio.Task[tuple[LineBatch, list[tuple[int, str]]]]] = deque()
    try:
        for batch in batches:
            under_way.append(asyncio.create_task(_write(batch, writer)))
            await asyncio.sleep(0)
            if len(under_way) == _UNDER_WAY:
                yield await under_way.popleft()
        while under_way:
            yield await under_way.popleft()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _write(batch: LineBatch, writer: PreferenceWriter) -> tuple[LineBatch, list[tuple[int, str]]]:
    rejected = await writer.import_updates(batch.updates, datetime.now(UTC)) if batch.updates else []
    return batch, sorted(batch.bad + [(batch.numbers[place], rejection.detail) for place, rejection in rejected])


def _resume(checkpoint: Path | None, file: str) -> ImportProgress:
    if checkpoint is None or not checkpoint.exists():
        return ImportProgress(fingerprint=file)
    try:
        saved = msgspec.json.decode(checkpoint.read_bytes(), type=ImportProgress)
    except msgspec.DecodeError as error:
        raise Refused(f"{checkpoint} is no checkpoint of an import ({error}); remove it to start over") from error
    if saved.fingerprint != file:
        raise Refused(f"{checkpoint} belongs to another file; remove it to start over")
    return saved


def _save(checkpoint: Path, progress: ImportProgress) -> None:
    new = checkpoint.with_name(checkpoint.name + ".new")
    new.write_bytes(msgspec.json.encode(progress))
    new.replace(checkpoint)


def _forget(checkpoint: Path) -> None:
    checkpoint.unlink(missing_ok=True)
