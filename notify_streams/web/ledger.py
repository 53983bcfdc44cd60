"""The outcomes of triggers and deliveries of a region, and whether they add up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from notify_streams.delivery.delivery_ledger import COUNTS, delivery_sums_close
from notify_streams.outbox.flush_plan import POSITIONS
from notify_streams.outbox.ledger import sums_close
from notify_streams.roles import CHANNEL_ROLES
from notify_streams.stores.mongo import LEDGER
from notify_streams.stores.mongo_errors import mongo_call
from notify_streams.web.region_reads import read_shared, store_timeout_s

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from notify_streams.app import NotifyApp
    from notify_streams.stores.mongo import Document, Shards

#: Rows read from one shard; each role, topic and bucket has one.
_MAX_ROWS: Final = 20_000

OUTCOMES: Final = ("notified", "forwarded", "repartitioned", "dead", "duplicate", "waiting")
SUMMED: Final = (*POSITIONS, *OUTCOMES)


class Sums(msgspec.Struct, frozen=True):
    """Sums over the ledger of a region."""

    #: Each row closes, and all rows were read.
    closes: bool
    complete: bool
    rows: int
    #: `_id` of the rows that do not close.
    open_rows: list[str]
    #: Of the roles that take triggers and sign-ups.
    total: dict[str, int]
    by_role: dict[str, dict[str, int]]
    dead_reasons: dict[str, int]


async def region_ledger(worker: NotifyApp) -> tuple[list[Document], bool]:
    """`read_ledger` of the worker's region, at most once a second for all views."""
    return await read_shared(worker, _read_region)


async def _read_region(worker: NotifyApp) -> tuple[list[Document], bool]:
    return await read_ledger(worker.shards, store_timeout_s(worker))


async def read_ledger(shards: Shards, timeout_s: float) -> tuple[list[Document], bool]:
    """The rows by role, topic and partition; False if there are more.

    Raises:
        StoreUnavailable: a shard does not respond.
    """
    parts = await asyncio.gather(*(_read_shard(shards, shard, timeout_s) for shard in range(len(shards))))
    rows = [row for part in parts for row in part[:_MAX_ROWS]]
    rows.sort(key=lambda row: (row.get("role", ""), row.get("topic", ""), row.get("partition", 0)))
    return rows, all(len(part) <= _MAX_ROWS for part in parts)


async def _read_shard(shards: Shards, shard: int, timeout_s: float) -> list[Document]:
    with mongo_call(f"the ledger on shard {shard}", timeout_s):
        found = shards.database(shard)[LEDGER].find({"bucket": {"$in": shards.buckets(shard)}})
        return await found.limit(_MAX_ROWS + 1).to_list()


def counts_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a row's counts."""
    return COUNTS if row.get("role") in CHANNEL_ROLES else SUMMED


def row_closes(row: Mapping[str, Any]) -> bool:
    """Whether the counts of one row add up. A row that lacks a count does not close."""
    try:
        return delivery_sums_close(row) if row["role"] in CHANNEL_ROLES else sums_close(row)
    except KeyError:
        return False


def sums(rows: Iterable[Mapping[str, Any]], *, complete: bool = True) -> Sums:
    """The sums over `rows`."""
    by_role: dict[str, dict[str, int]] = {}
    reasons: dict[str, int] = {}
    open_rows: list[str] = []
    count = 0
    for row in rows:
        count += 1
        names = counts_of(row)
        role = by_role.setdefault(str(row.get("role", "?")), dict.fromkeys(names, 0))
        for name in names:
            role[name] += row.get(name, 0)
        for reason, times in row.get("dead_reasons", {}).items():
            reasons[reason] = reasons.get(reason, 0) + times
        if not row_closes(row):
            open_rows.append(str(row.get("_id")))
    total = {name: sum(role[name] for role in by_role.values() if "notified" in role) for name in SUMMED}
    return Sums(complete and not open_rows, complete, count, open_rows, total, by_role, reasons)
