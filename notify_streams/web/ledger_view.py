"""`/ledger`: the outcomes of triggers and deliveries; whether they add up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from notify_streams.admin.sealed_periods import overview
from notify_streams.web.ledger import counts_of, region_ledger, row_closes, sums
from notify_streams.web.region_reads import read_shared, store_timeout_s
from notify_streams.web.responses import Content, SharedView, json_content

if TYPE_CHECKING:
    from notify_streams.app import NotifyApp

_SHOWN: Final = ("role", "topic", "partition", "first_offset", "next_offset", "period_end", "sealed_to")


class Ledger(SharedView):
    async def content(self) -> Content:
        rows, complete = await region_ledger(self.worker)
        shown = [
            {name: row.get(name) for name in (*_SHOWN, *counts_of(row))}
            | {"dead_reasons": row.get("dead_reasons", {}), "closes": row_closes(row)}
            for row in rows
        ]
        summed = sums(rows, complete=complete)
        region = self.worker.settings.region
        sealed = await read_shared(self.worker, _read_sealed)
        return json_content({"region": region, **msgspec.structs.asdict(summed), "sealed": sealed, "ledgers": shown})


async def _read_sealed(worker: NotifyApp) -> dict[str, Any]:
    return await overview(worker.shards, store_timeout_s(worker))
