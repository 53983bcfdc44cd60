"""The check when a trigger is decided: what a person's choices are now, for a whole batch, at the price of one MGET.

In: a bucket and user ids. Out: compiled rows. It refuses to know categories, triggers and what a row is used for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from notify_streams.errors import RetryLater, StoreUnavailable
from notify_streams.metrics import TABLE_ONLY
from notify_streams.preferences.cache import RowCache
from notify_streams.preferences.row_codec import NOTHING, newest

if TYPE_CHECKING:
    from notify_streams.preferences.deltas import Deltas
    from notify_streams.preferences.repository import PreferenceRepository
    from notify_streams.preferences.staleness_bound import StalenessBound

#: Rows of the worker's own table by user id, None where there is none.
ReadTable = Callable[[Sequence[str]], Sequence[bytes | None]]


class DecisionCheck:
    """Rows from the table, remembered for `cache_ttl_s`, made current by the deltas.

    `table_lag_s` says how far the table may be behind the durable record, in seconds: a change that it lacks is still in the deltas
    only as long as they live. Where Redis cannot be trusted, or the table is too far behind, the table itself and the durable record
    are read: the table alone might still suppress what its owner has just allowed.
    """

    def __init__(
        self,
        deltas: Deltas,
        durable: PreferenceRepository,
        bound: StalenessBound,
        read_table: ReadTable,
        table_lag_s: Callable[[], float] = lambda: 0.0,
        cached_rows: int = 1_000_000,
    ) -> None:
        self._deltas = deltas
        self._durable = durable
        self._bound = bound
        self._read_table = read_table
        self._table_lag_s = table_lag_s
        self.cache = RowCache(bound.cache_ttl_s, cached_rows)
        #: Batches that were decided without Redis, and those of them without the durable record, too.
        self.without_redis = 0
        self.table_only = 0

    async def rows_for(self, bucket: int, user_ids: Sequence[str]) -> list[bytes]:
        """Each person's row in the order asked for, `NOTHING` for who never chose anything.

        It has every choice that was acknowledged before this was called. If neither Redis nor the durable record answers, it may lack
        those that the table lacks; the check before the provider call then still finds an opt-out.

        Raises:
            RetryLater: neither answers, and the table is too far behind.
        """
        people = list(dict.fromkeys(user_ids))
        deltas = await self._deltas.read(people)
        if deltas is None or self._table_lag_s() > self._bound.table_lag_s:
            found = await self._without_deltas(bucket, people)
        else:
            found = self._with_deltas(people, deltas)
        if len(people) == len(user_ids):
            return found
        rows = dict(zip(people, found, strict=True))
        return [rows[user_id] for user_id in user_ids]

    def _with_deltas(self, people: Sequence[str], deltas: Sequence[bytes | None]) -> list[bytes]:
        cache = self.cache
        cache.turn(time.monotonic())
        rows = [cache.get(user_id) for user_id in people]
        missing = [user_id for user_id, row in zip(people, rows, strict=True) if row is None]
        if missing:
            read = dict(zip(missing, self._read_table(missing), strict=True))
            for place, user_id in enumerate(people):
                if rows[place] is None:
                    rows[place] = row = read[user_id] or NOTHING
                    cache.put(user_id, row)
        return [
            row if delta is None else newest(delta, row)
            for row, delta in zip((row or NOTHING for row in rows), deltas, strict=True)
        ]

    async def _without_deltas(self, bucket: int, people: Sequence[str]) -> list[bytes]:
        self.without_redis += 1
        rows = [row or NOTHING for row in self._read_table(people)]
        try:
            durable = await self._durable.rows(bucket, people)
        except StoreUnavailable as error:
            self.table_only += 1
            TABLE_ONLY.inc()
            if self._table_lag_s() > self._bound.table_only_lag_s:
                raise RetryLater(
                    f"preferences: Redis is not to be trusted, the table is behind, and {error}"
                ) from error
            return rows
        return [newest(row, durable.get(user_id, NOTHING)) for user_id, row in zip(people, rows, strict=True)]
