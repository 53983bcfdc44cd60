"""The parts of this room put together for one process, from its settings and connections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from notify_streams.preferences.decision_check import DecisionCheck, ReadTable
from notify_streams.preferences.deltas import Deltas
from notify_streams.preferences.lease_renewal import LeaseRenewal
from notify_streams.preferences.provider_check import ProviderCheck
from notify_streams.preferences.repository import PreferenceRepository
from notify_streams.preferences.staleness_bound import StalenessBound, staleness_bound_of
from notify_streams.preferences.writer import PreferenceWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis

    from notify_streams.preferences.categories import Categories
    from notify_streams.preferences.writer import Publish
    from notify_streams.settings import Settings
    from notify_streams.stores.mongo import Shards


@dataclass(frozen=True, slots=True)
class PreferenceComponents:
    """Everything that one process uses. Nothing runs yet: whoever owns it runs `keeper.run()` as a task."""

    bound: StalenessBound
    durable: PreferenceRepository
    deltas: Deltas
    keeper: LeaseRenewal
    decision: DecisionCheck
    provider: ProviderCheck
    writer: PreferenceWriter


def build_components(
    settings: Settings,
    shards: Shards,
    redis: Redis,
    categories: Categories,
    publish: Publish,
    read_table: ReadTable = lambda user_ids: [None] * len(user_ids),
    table_lag_s: Callable[[], float] = lambda: 0.0,
    prefix: str = "p",
) -> PreferenceComponents:
    """Put the parts together. All processes of a region use the same `prefix`."""
    bound = staleness_bound_of(settings.preferences)
    durable = PreferenceRepository(shards, settings.outbox.transaction_timeout_s)
    deltas = Deltas(redis, bound.delta_ttl_s, prefix)
    return PreferenceComponents(
        bound,
        durable,
        deltas,
        LeaseRenewal(redis, deltas, durable, bound, prefix),
        DecisionCheck(deltas, durable, bound, read_table, table_lag_s),
        ProviderCheck(deltas, durable, bound, categories),
        PreferenceWriter(durable, deltas, bound, categories, publish),
    )
