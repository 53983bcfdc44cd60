"""One observation of a region from outside, for a command."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pymongo
from pymongo.errors import PyMongoError

from notify_streams.errors import StoreUnavailable
from notify_streams.stores.mongo import Shards
from notify_streams.stores.redis import connect
from notify_streams.stores.shard_clocks import shard_ahead_s
from notify_streams.web.ledger import sums
from notify_streams.web.peers import Peers, fetch_peers
from notify_streams.web.verdict.database_reads import DatabaseReads, read_shards
from notify_streams.web.verdict.history_store import HistoryStore
from notify_streams.web.verdict.observation import Observation, ServiceState, needed_roles
from notify_streams.web.verdict.problem import Problem, ProblemCode
from notify_streams.web.verdict.worker_rules import name_of
from notify_streams.web.verdict.worker_states import worker_statuses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from notify_streams.admin.services import Fault
    from notify_streams.settings import Settings

_WITHIN_S: Final = 2.0
_READ_WITHIN_S: Final = 3.0
#: Of Redis, whose time-out is so short that a busy machine exceeds it.
_ATTEMPTS: Final = 3
_HEADLINE_S: Final = 0.5
#: By the first word of `service_faults`.
_CODES: Final = {
    "Kafka": ProblemCode.KAFKA_DOWN,
    "MongoDB": ProblemCode.SHARD_DOWN,
    "Redis": ProblemCode.REDIS_DOWN,
    "DynamoDB": ProblemCode.DYNAMODB_DOWN,
}


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a region shows. It has no rates: they need a second one."""

    seen: Observation
    #: What the workers of the role views tell now: also what shows only over some time.
    reported: Sequence[Problem]
    #: False: Redis does not answer, so it is not known which workers run.
    workers_known: bool
    #: "shard 1": a service whose clock is not known, because it did not answer.
    unknown_clocks: Sequence[str]


def service_states(faults: Mapping[str, Fault | None]) -> list[ServiceState]:
    """The results of `service_faults`, as the rules take them."""
    return [
        ServiceState(
            _CODES[name.partition(" ")[0]],
            name.partition(" at ")[0].removeprefix("MongoDB "),
            None if fault is None else fault.sentence,
            fault is not None and fault.refused,
        )
        for name, fault in faults.items()
    ]


async def wrong_now(settings: Settings) -> str | None:
    """The page's first line if something is wrong; None: nothing is, or it is not known. Half a second at most."""
    try:
        async with asyncio.timeout(_HEADLINE_S), connect(settings) as redis:
            verdict = await HistoryStore(redis, settings.region, "").current(time.time())
    except (StoreUnavailable, TimeoutError):
        return None
    return verdict.headline if verdict is not None and verdict.now else None


async def look_at(settings: Settings, services: Sequence[ServiceState]) -> Look:
    """Ask workers and shards, all at the same time; nothing raises for one that is away."""
    (peers, reported), (shard_clocks, reads) = await asyncio.gather(_workers(settings), _read(settings))
    known = peers is not None
    peers = peers or Peers((), None)
    workers = worker_statuses(peers, {}, signs_count=True)
    clocks = {shard: ahead_s for shard, ahead_s in shard_clocks.items() if ahead_s is not None} | {
        name_of(status): peer.ahead_s
        for status, peer in zip(workers, peers.workers, strict=True)
        if peer.summary is not None
    }
    seen = Observation(
        services=services,
        workers=workers,
        roles=needed_roles(settings) if known else (),
        ledger=None if reads.ledger is None else sums(reads.ledger[0], complete=reads.ledger[1]),
        outbox=reads.outbox,
        overdue_s=reads.overdue_s,
        clocks=clocks,
    )
    return Look(seen, reported, known, [shard for shard, ahead_s in shard_clocks.items() if ahead_s is None])


async def _workers(settings: Settings) -> tuple[Peers | None, Sequence[Problem]]:
    """The workers, None if Redis does not answer; and what those of the role views have found."""
    for _ in range(_ATTEMPTS):
        with suppress(StoreUnavailable):
            async with connect(settings) as redis:
                verdict = await HistoryStore(redis, settings.region, "").current(time.time())
            return await fetch_peers(settings), [] if verdict is None else verdict.now
    return None, []


async def _read(settings: Settings) -> tuple[dict[str, float | None], DatabaseReads]:
    """Shard → by how much its clock is ahead of this machine's, None if it does not answer; and what the shards store, if all answer."""
    async with Shards(settings, serverSelectionTimeoutMS=int(_WITHIN_S * 1000)) as shards:
        numbers = range(len(shards))
        ahead_s = await asyncio.gather(*(_clock_ahead_s(shards, shard) for shard in numbers))
        clocks = {f"shard {shard}": ahead_s[shard] for shard in numbers}
        if None in ahead_s:
            return clocks, DatabaseReads(None, None, None)
        await shards.directory.refresh()
        return clocks, await read_shards(shards, min(_READ_WITHIN_S, settings.outbox.transaction_timeout_s))


async def _clock_ahead_s(shards: Shards, shard: int) -> float | None:
    """See `shard_ahead_s`; None: it did not answer."""
    try:
        with pymongo.timeout(_WITHIN_S):
            return await shard_ahead_s(shards, shard)
    except PyMongoError:
        return None
