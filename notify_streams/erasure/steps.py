"""The steps of both passes, in order."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from notify_streams.erasure.history import History
from notify_streams.erasure.registered_data import RegisteredData
from notify_streams.erasure.runner import Clocks, ErasureRunner

if TYPE_CHECKING:
    from collections.abc import Callable

    from notify_streams.erasure.registered_data import ContactStore, Registry
    from notify_streams.erasure.runner import Erasures
    from notify_streams.preferences.service import PreferenceService
    from notify_streams.records.batch import Producer
    from notify_streams.settings import Settings
    from notify_streams.stores.mongo import Shards

#: The shard whose clock tells all workers of a region when an erasure is due.
_CLOCK_OF: Final = 0


def erasure_runner(
    settings: Settings,
    store: Erasures,
    registry: Registry,
    contacts: ContactStore,
    preferences: PreferenceService,
    shards: Shards,
    producer: Producer,
    is_located: Callable[[str], bool],
) -> ErasureRunner:
    """A runner that is not started. `is_located`: whether this region's locations have a user."""
    now = RegisteredData(settings, registry, contacts, preferences.erased, preferences.stops, producer, is_located)
    past = History(settings, shards, producer)
    removed = {"registry": now.registry, "locations": now.locations, "contacts": now.contacts, "timers": past.timers}
    last = {
        "outbox": past.outbox,
        "consents": past.consents,
        "notifications": past.notifications,
        "outcomes": past.outcomes,
        "preferences": now.preferences,
    }
    clocks = Clocks(partial(shards.clocks.earlier_now, _CLOCK_OF), partial(shards.clocks.later_now, _CLOCK_OF))
    return ErasureRunner(store, {"checks": now.checks} | removed, removed | last, settings.erasure_settles_s, clocks)
