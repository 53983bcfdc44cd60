"""The preference components of one process, and the start and stop of what runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from notify_streams import tasks
from notify_streams.preferences.decision_check import DecisionCheck, ReadTable
from notify_streams.preferences.deltas import Deltas
from notify_streams.preferences.erased_users import ErasedUsers
from notify_streams.preferences.lease_renewal import LeaseRenewal
from notify_streams.preferences.provider_check import ProviderCheck
from notify_streams.preferences.repository import PreferenceRepository
from notify_streams.preferences.staleness_bound import staleness_bound_of
from notify_streams.preferences.stops import Stops
from notify_streams.preferences.suppressed_addresses import AddressIds
from notify_streams.preferences.writer import PreferenceWriter
from notify_streams.stores.redis import connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from notify_streams.preferences.categories import Categories
    from notify_streams.preferences.writer import Publish
    from notify_streams.settings import Settings
    from notify_streams.stores.mongo import Shards


class PreferenceService:
    """Built without connecting. All processes of a region use the same Redis key `prefix`."""

    def __init__(
        self, settings: Settings, categories: Categories, shards: Shards, publish: Publish, prefix: str = "p"
    ) -> None:
        self._cached_choices = settings.tables.cached_choices
        self.redis = connect(settings)
        self.bound = staleness_bound_of(settings.preferences)
        self.repository = PreferenceRepository(shards, settings.outbox.transaction_timeout_s)
        self.deltas = Deltas(self.redis, self.bound.delta_ttl_s, prefix)
        self.lease_renewal = LeaseRenewal(self.redis, self.deltas, self.repository, self.bound, prefix)
        key = settings.public.address_key
        address_key = None if key is None else key.reveal().encode()
        addresses = None if address_key is None else AddressIds(address_key, settings.partitions)
        self.erased = ErasedUsers(
            shards, self.repository, self.deltas, self.bound, address_key, settings.outbox.transaction_timeout_s
        )
        erased = None if address_key is None else self.erased
        self.provider_check = ProviderCheck(self.deltas, self.repository, self.bound, categories, addresses, erased)
        self.writer = PreferenceWriter(self.repository, self.deltas, self.bound, categories, publish, self.erased)
        self.stops = Stops(self.writer, categories, settings.partitions, addresses)
        self._renewing: asyncio.Task[None] | None = None

    def decision_check(
        self,
        read_table: ReadTable,
        table_lag_s: Callable[[], float],
        has_bucket: Callable[[int], bool] = lambda bucket: True,
    ) -> DecisionCheck:
        """A check that reads rows from `read_table`, which is `table_lag_s()` seconds behind the preference records.

        `has_bucket`: whether it has all rows of a bucket now.
        """
        cached_rows = self._cached_choices
        return DecisionCheck(self.deltas, self.repository, self.bound, read_table, table_lag_s, cached_rows, has_bucket)

    async def start(self) -> None:
        """Keep the lease on the deltas renewed."""
        self._renewing = asyncio.create_task(self.lease_renewal.run(), name="preference lease renewal")

    async def stop(self) -> None:
        """Stop the renewal and close the connection to Redis. Also for a service that was never started."""
        await tasks.stop([self._renewing])
        await self.redis.aclose()
