"""The staleness bound: no call later than `bound_s` after an opt-out.

Proof. Write W is durable at t0 and acknowledged at t >= t0. A check begins at m and is good for calls that start before m + `good_s`.

1. The check read the preference record: it saw W if m >= t0. So a call that ignores W starts before t0 + good_s.
2. The check trusted Redis: it saw the lease in the same MGET. A renewal that began at s (by Redis's clock) copied every write that was
   durable at s into this Redis, and lets the lease end at s + `lease_s`. So a check that trusts Redis and does not see W found a lease
   with s < t0. Then m < t0 + lease_s, and its call starts before t0 + lease_s + good_s.

Both are below t + bound_s because ``lease_s + good_s + start_s < bound_s``: a call has a connection within `start_s`, or sends nothing.
The proof does not need the writer to reach Redis, a failover of Redis to keep its last writes, or two machines to have the same clock;
but a replica gets the lease with its end, so what its clock is behind the master's adds to the bound at its promotion, and a clock of Redis
that is set back adds the time until a worker looks at the lease.
The delta that the writer sets makes the common case immediate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from notify_streams.errors import SettingsError

if TYPE_CHECKING:
    from notify_streams.settings import PreferenceSettings


@dataclass(frozen=True, slots=True)
class StalenessBound:
    """Times that follow from the settings, in seconds."""

    #: Redis may be trusted this long after a renewal began.
    lease_s: float
    #: A call may start this long after its check began.
    good_s: float
    #: A call has a connection this long after its start, or sends nothing.
    start_s: float
    #: How long a delta stays in Redis.
    delta_ttl_s: float
    #: How long a row read from the table may be cached.
    cache_ttl_s: float
    #: A message decided longer ago than this is checked against the preference record. Smaller than `delta_ttl_s` by the possible
    #: difference of two clocks and by `table_only_lag_s`.
    young_s: float
    #: How far the table may lag while the deltas have what it lacks.
    table_lag_s: float
    #: How far the table may lag when neither Redis nor MongoDB answers.
    table_only_lag_s: float


def staleness_bound_of(preferences: PreferenceSettings) -> StalenessBound:
    """The times for these settings.

    Raises:
        SettingsError: rows are cached for longer than deltas live.
    """
    ttl_s = preferences.delta_ttl_s
    table_lag_s = 0.75 * ttl_s - preferences.cache_ttl_s
    if table_lag_s <= 0:
        raise SettingsError(
            f"preferences.cache_ttl_s ({preferences.cache_ttl_s:g}) must be below three quarters of preferences.delta_ttl_s ({ttl_s:g})"
        )
    return StalenessBound(
        lease_s=0.5 * preferences.bound_s,
        good_s=0.35 * preferences.bound_s,
        start_s=0.1 * preferences.bound_s,
        delta_ttl_s=ttl_s,
        cache_ttl_s=preferences.cache_ttl_s,
        young_s=0.75 * ttl_s,
        table_lag_s=table_lag_s,
        table_only_lag_s=0.2 * ttl_s,
    )
