"""Compare-and-swap of many preference records in one command.

Raw commands instead of the driver's bulk write: for a retryable write the server stores a note of every single update, which costs a
third of the throughput. A compare-and-swap does not need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pymongo.errors import OperationFailure

from notify_streams.preferences.choices import EMPTY_RECORD
from notify_streams.preferences.mongo_document import STAMP, STAMPED_AT_INSERT, fields_of
from notify_streams.stores.mongo import DURABLE, PREFERENCES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from pymongo.asynchronous.database import AsyncDatabase

    from notify_streams.preferences.choices import PreferenceRecord
    from notify_streams.stores.mongo import Document

DUPLICATE_KEY: Final = 11000
#: Statements of one command.
MAX_WRITES: Final = 2_000
#: Choices in the records of one command. One with the longest detail has 1.2 kB; the driver sends no command of more than 16 MB.
_MAX_CHOICES: Final = 10_000


class RecordSwap(NamedTuple):
    """Replace `before` by `after`."""

    user_id: str
    bucket: int
    before: PreferenceRecord
    after: PreferenceRecord


async def compare_and_swap(database: AsyncDatabase[Document], swaps: Iterable[RecordSwap]) -> set[str]:
    """Write durably (majority, journalled). Returns the users whose record may not have been written and must be read again.

    Raises:
        PyMongoError: it is unknown what was written.
    """
    unsure: set[str] = set()
    for chunk in _chunks(swaps):
        inserts = [swap for swap in chunk if swap.before is EMPTY_RECORD]
        updates = [swap for swap in chunk if swap.before is not EMPTY_RECORD]
        if inserts:
            unsure |= await _insert(database, inserts)
        if updates:
            unsure |= await _update(database, updates)
    return unsure


def _chunks(swaps: Iterable[RecordSwap]) -> Iterator[list[RecordSwap]]:
    """Parts that one command takes."""
    chunk: list[RecordSwap] = []
    choices = 0
    for swap in swaps:
        size = sum(map(len, swap.after.choices.values())) + len(swap.after.replaced)
        if chunk and (len(chunk) == MAX_WRITES or choices + size > _MAX_CHOICES):
            yield chunk
            chunk, choices = [], 0
        chunk.append(swap)
        choices += size
    if chunk:
        yield chunk


async def _insert(database: AsyncDatabase[Document], swaps: Sequence[RecordSwap]) -> set[str]:
    documents = [
        {"_id": swap.user_id, "bucket": swap.bucket, **fields_of(swap.after), **STAMPED_AT_INSERT} for swap in swaps
    ]
    _, failed = await run_writes(database, {"insert": PREFERENCES}, "documents", documents)
    return {swaps[index].user_id for index in failed}


async def _update(database: AsyncDatabase[Document], swaps: Sequence[RecordSwap]) -> set[str]:
    updates = [
        {
            "q": {"_id": swap.user_id, "bucket": swap.bucket, "version": swap.before.version},
            "u": {"$set": fields_of(swap.after), "$currentDate": STAMP}
            | ({"$unset": {"replaced": ""}} if swap.before.replaced and not swap.after.replaced else {}),
        }
        for swap in swaps
    ]
    reply, failed = await run_writes(database, {"update": PREFERENCES}, "updates", updates)
    # The server reports how many matched, not which.
    return {swaps[index].user_id for index in (failed if reply["n"] == len(swaps) else range(len(swaps)))}


async def run_writes(
    database: AsyncDatabase[Document], command: Mapping[str, str], name: str, statements: Sequence[Document]
) -> tuple[Mapping[str, Any], list[int]]:
    """Run statements (as the argument `name` of `command`) durably; returns the reply, and the indexes of those with a known key.

    Raises:
        PyMongoError: it is unknown what was written.
    """
    reply = await database.command({**command, "ordered": False, "writeConcern": DURABLE.document, name: statements})
    if concern := reply.get("writeConcernError"):
        raise OperationFailure("not durable", concern["code"])
    errors = reply.get("writeErrors", ())
    for error in errors:
        if error["code"] != DUPLICATE_KEY:
            raise OperationFailure("a write was refused", error["code"])
    return reply, [error["index"] for error in errors]
