"""`/ledger`: what became of every trigger of this region, and whether each row and everything together adds up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from notify_streams.outbox.ledger import sums_close
from notify_streams.stores.mongo import LEDGER
from notify_streams.stores.mongo_errors import mongo_call
from notify_streams.web.responses import WebView, answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiohttp.web import Request, Response

    from notify_streams.stores.mongo import Document, Shards

#: Rows read from one shard; there is one a role, topic and bucket.
_MOST: Final = 20_000

OUTCOMES: Final = ("notified", "forwarded", "repartitioned", "dead", "duplicate")
SUMMED: Final = ("taken", "other_lane", "holes", *OUTCOMES)
_SHOWN: Final = ("role", "topic", "partition", "first_offset", "next_offset", *SUMMED)


class Sums(msgspec.Struct, frozen=True):
    """The ledger of a region, summed."""

    #: Every row adds up, and all of them were read.
    closes: bool
    complete: bool
    rows: int
    #: `_id` of rows that do not add up.
    open_rows: list[str]
    total: dict[str, int]
    by_role: dict[str, dict[str, int]]
    dead_reasons: dict[str, int]


async def read_ledger(shards: Shards, within_s: float) -> tuple[list[Document], bool]:
    """All rows in order, and whether that is all.

    Raises:
        StoreUnavailable: a shard does not answer.
    """
    parts = await asyncio.gather(*(_read_shard(shards, shard, within_s) for shard in range(len(shards))))
    rows = [row for part in parts for row in part[:_MOST]]
    rows.sort(key=lambda row: (row.get("role", ""), row.get("topic", ""), row.get("partition", 0)))
    return rows, all(len(part) <= _MOST for part in parts)


async def _read_shard(shards: Shards, shard: int, within_s: float) -> list[Document]:
    with mongo_call(f"the ledger on shard {shard}", within_s):
        found = shards.database(shard)[LEDGER].find({"bucket": {"$in": shards.buckets(shard)}})
        return await found.limit(_MOST + 1).to_list()


def closes(row: Mapping[str, Any]) -> bool:
    """Whether one row adds up; one that lacks a number does not."""
    try:
        return sums_close(row)
    except KeyError:
        return False


def sums(rows: Iterable[Mapping[str, Any]], *, complete: bool = True) -> Sums:
    """Rows in, sums out."""
    by_role: dict[str, dict[str, int]] = {}
    reasons: dict[str, int] = {}
    open_rows: list[str] = []
    count = 0
    for row in rows:
        count += 1
        role = by_role.setdefault(str(row.get("role", "?")), dict.fromkeys(SUMMED, 0))
        for name in SUMMED:
            role[name] += row.get(name, 0)
        for reason, times in row.get("dead_reasons", {}).items():
            reasons[reason] = reasons.get(reason, 0) + times
        if not closes(row):
            open_rows.append(str(row.get("_id")))
    total = {name: sum(role[name] for role in by_role.values()) for name in SUMMED}
    return Sums(complete and not open_rows, complete, count, open_rows, total, by_role, reasons)


class Ledger(WebView):
    async def get(self, request: Request) -> Response:
        rows, complete = await read_ledger(self.worker.shards, self.store_s)
        shown = [
            {name: row.get(name) for name in _SHOWN}
            | {"dead_reasons": row.get("dead_reasons", {}), "closes": closes(row)}
            for row in rows
        ]
        summed = sums(rows, complete=complete)
        region = self.worker.settings.region
        return answer({"region": region, **msgspec.structs.asdict(summed), "ledgers": shown})
