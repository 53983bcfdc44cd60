"""Compare-and-swap of many preference records in one command.

Raw commands instead of the driver's bulk write: for a retryable write the server stores a note of every single update, which costs a
third of the throughput. A compare-and-swap does not need it.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from pymongo.errors import OperationFailure

from notify_streams.preferences.choices import EMPTY_RECORD
from notify_streams.preferences.mongo_document import STAMP, STAMPED_AT_INSERT, fields_of
from notify_streams.stores.mongo import DURABLE, PREFERENCES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from pymongo.asynchronous.database import AsyncDatabase

    from notify_streams.preferences.choices import PreferenceRecord
    from notify_streams.stores.mongo import Document

DUPLICATE_KEY: Final = 11000
_MAX_SWAPS: Final = 2_000


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
    remaining = iter(swaps)
    while chunk := list(islice(remaining, _MAX_SWAPS)):
        inserts = [swap for swap in chunk if swap.before is EMPTY_RECORD]
        updates = [swap for swap in chunk if swap.before is not EMPTY_RECORD]
        if inserts:
            unsure |= await _insert(database, inserts)
        if updates:
            unsure |= await _update(database, updates)
    return unsure


async def _insert(database: AsyncDatabase[Document], swaps: Sequence[RecordSwap]) -> set[str]:
    documents = [
        {"_id": swap.user_id, "bucket": swap.bucket, **fields_of(swap.after), **STAMPED_AT_INSERT} for swap in swaps
    ]
    reply = await database.command(_command("insert") | {"documents": documents})
    return _not_written(reply, swaps)


async def _update(database: AsyncDatabase[Document], swaps: Sequence[RecordSwap]) -> set[str]:
    updates = [
        {
            "q": {"_id": swap.user_id, "bucket": swap.bucket, "version": swap.before.version},
            "u": {"$set": fields_of(swap.after), "$currentDate": STAMP},
        }
        for swap in swaps
    ]
    reply = await database.command(_command("update") | {"updates": updates})
    not_written = _not_written(reply, swaps)
    # The server reports how many matched, not which.
    return not_written if reply["n"] == len(swaps) else {swap.user_id for swap in swaps}


def _command(name: str) -> dict[str, Any]:
    return {name: PREFERENCES, "ordered": False, "writeConcern": DURABLE.document}


def _not_written(reply: Mapping[str, Any], swaps: Sequence[RecordSwap]) -> set[str]:
    if concern := reply.get("writeConcernError"):
        raise OperationFailure("not durable", concern["code"])
    errors = reply.get("writeErrors", ())
    for error in errors:
        if error["code"] != DUPLICATE_KEY:
            raise OperationFailure("a write was refused", error["code"])
    return {swaps[error["index"]].user_id for error in errors}
