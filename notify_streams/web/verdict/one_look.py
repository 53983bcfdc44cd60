"""One observation of a region from outside, for a command."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from notify_streams.errors import StoreUnavailable
from notify_streams.stores.mongo import Shards
from notify_streams.stores.redis import connect
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
    """Ask workers and shards; nothing raises for one that is away."""
    known, reported, peers = True, [], Peers((), None)
    try:
        async with connect(settings) as redis:
            verdict = await HistoryStore(redis, settings.region, "").current(time.time())
        reported = [] if verdict is None else verdict.now
        peers = await fetch_peers(settings)
    except StoreUnavailable:
        known = False
    workers = worker_statuses(peers, {}, signs_count=True)
    clocks, reads = await _read(settings)
    clocks |= {
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
    return Look(seen, reported, known)


async def _read(settings: Settings) -> tuple[dict[str, float], DatabaseReads]:
    """Shard → by how much its clock is ahead of this machine's; and what the shards store, if all answer."""
    async with Shards(settings) as shards:
        clocks = {}
        for shard in range(len(shards)):
            began = time.time()
            try:
                async with asyncio.timeout(_WITHIN_S):
                    hello = await shards.client(shard).admin.command("hello")
            except Exception:
                continue
            clocks[f"shard {shard}"] = hello["localTime"].timestamp() - (began + time.time()) / 2
        if len(clocks) < len(shards):
            return clocks, DatabaseReads(None, None, None)
        await shards.directory.refresh()
        return clocks, await read_shards(shards, settings.outbox.transaction_timeout_s)
