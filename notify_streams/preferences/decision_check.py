"""The preference check when a trigger is decided: one MGET for a whole batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from notify_streams.errors import RetryLater, StoreUnavailable
from notify_streams.metrics import TABLE_ONLY
from notify_streams.preferences.row_cache import RowCache
from notify_streams.preferences.row_codec import EMPTY_ROW, newer_row

if TYPE_CHECKING:
    from notify_streams.preferences.deltas import Deltas
    from notify_streams.preferences.repository import PreferenceRepository
    from notify_streams.preferences.staleness_bound import StalenessBound

#: Bucket, user ids → rows of the worker's own table, None where it has none.
ReadTable = Callable[[int, Sequence[bytes]], Sequence[bytes | None]]


class DecisionCheck:
    """Rows of the table, cached for `cache_ttl_s`, replaced by newer deltas.

    `table_lag_s` is how far the table is behind the preference records. A change that the table lacks is found in the deltas only for
    their time to live. If the table lags more than that allows, or Redis cannot be trusted, the table and the preference records are
    read without the cache.
    """

    def __init__(
        self,
        deltas: Deltas,
        repository: PreferenceRepository,
        bound: StalenessBound,
        read_table: ReadTable,
        table_lag_s: Callable[[], float] = lambda: 0.0,
        cached_rows: int = 65_536,
        has_bucket: Callable[[int], bool] = lambda bucket: True,
    ) -> None:
        """`cached_rows`: of each bucket. `has_bucket`: whether the table has all rows of a bucket now."""
        self._deltas = deltas
        self._repository = repository
        self._bound = bound
        self._read_table = read_table
        self._table_lag_s = table_lag_s
        self._cached_rows = cached_rows
        self._has_bucket = has_bucket
        #: One for each bucket, because a table has no row of a user in another bucket.
        self._caches: dict[int, RowCache] = {}
        #: Batches for which only the table could be read.
        self.table_only = 0

    async def rows_for(self, bucket: int, user_ids: Sequence[str]) -> list[bytes]:
        """Each user's row in the order of `user_ids`; `EMPTY_ROW` for a user who never chose anything.

        The rows have every choice that was acknowledged before this call. If neither Redis nor MongoDB answers, they may lack those that
        the table lacks; the provider check still finds an opt-out.

        Raises:
            RetryLater: neither answers, and the table lags too much.
        """
        distinct = list(dict.fromkeys(user_ids))
        deltas = await self._deltas.read(distinct)
        if deltas is None or self._table_lag_s() > self._bound.table_lag_s:
            found = await self._without_deltas(bucket, distinct)
        else:
            found = self._with_deltas(bucket, distinct, deltas)
        if len(distinct) == len(user_ids):
            return found
        rows = dict(zip(distinct, found, strict=True))
        return [rows[user_id] for user_id in user_ids]

    def _with_deltas(self, bucket: int, user_ids: Sequence[str], deltas: Sequence[bytes | None]) -> list[bytes]:
        if not self._has_bucket(bucket):
            # A batch of before a rebalance: its decision counts no more, but what the table lacks must not be cached, the bucket may come back.
            return _newest(self._read(bucket, user_ids), deltas)
        cache = self._caches.get(bucket)
        if cache is None:
            self._caches = {one: rows for one, rows in self._caches.items() if self._has_bucket(one)}
            cache = self._caches[bucket] = RowCache(self._bound.cache_ttl_s, self._cached_rows)
        cache.expire(time.monotonic())
        rows = [cache.get(user_id) for user_id in user_ids]
        missing = [user_id for user_id, row in zip(user_ids, rows, strict=True) if row is None]
        if missing:
            read = dict(zip(missing, self._read(bucket, missing), strict=True))
            for index, user_id in enumerate(user_ids):
                if rows[index] is None:
                    rows[index] = row = read[user_id] or EMPTY_ROW
                    cache.put(user_id, row)
        return _newest(rows, deltas)

    def _read(self, bucket: int, user_ids: Sequence[str]) -> Sequence[bytes | None]:
        return self._read_table(bucket, [user_id.encode() for user_id in user_ids])

    async def _without_deltas(self, bucket: int, user_ids: Sequence[str]) -> list[bytes]:
        rows = [row or EMPTY_ROW for row in self._read(bucket, user_ids)]
        try:
            stored = await self._repository.rows(bucket, user_ids)
        except StoreUnavailable as error:
            self.table_only += 1
            TABLE_ONLY.inc()
            if self._table_lag_s() > self._bound.table_only_lag_s:
                raise RetryLater(f"preferences: Redis cannot be trusted, the table lags, and {error}") from error
            return rows
        return [newer_row(row, stored.get(user_id, EMPTY_ROW)) for user_id, row in zip(user_ids, rows, strict=True)]


def _newest(rows: Sequence[bytes | None], deltas: Sequence[bytes | None]) -> list[bytes]:
    return [
        row if delta is None else newer_row(delta, row)
        for row, delta in zip((row or EMPTY_ROW for row in rows), deltas, strict=True)
    ]
