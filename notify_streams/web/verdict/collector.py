"""Observes the region every 5 s, for all who ask for its status."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from notify_streams import tasks
from notify_streams.errors import StoreUnavailable
from notify_streams.roles import ROLES
from notify_streams.web.ledger import sums
from notify_streams.web.peers import DEAD_S, region_peers
from notify_streams.web.problem_log import ProblemLog
from notify_streams.web.verdict.counters import WINDOW_S, CounterWindow
from notify_streams.web.verdict.database_reads import read_databases
from notify_streams.web.verdict.history import ProblemHistory
from notify_streams.web.verdict.history_store import HistoryStore
from notify_streams.web.verdict.lost_records import LostRecords
from notify_streams.web.verdict.observation import Observation, needed_roles
from notify_streams.web.verdict.region_status import RegionStatus
from notify_streams.web.verdict.rules import problems_of
from notify_streams.web.verdict.series import SLOTS, Slot, series, slot_of
from notify_streams.web.verdict.service_probes import ServiceProbes, ledger_lag
from notify_streams.web.verdict.totals import NO_TOTALS, ledger_totals, slot_at, with_backlog
from notify_streams.web.verdict.worker_rules import name_of
from notify_streams.web.verdict.worker_states import worker_statuses
from notify_streams.web.worker_objects import one_for

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from notify_streams.app import NotifyApp
    from notify_streams.web.peers import Peers
    from notify_streams.web.verdict.database_reads import DatabaseReads
    from notify_streams.web.verdict.observation import ServiceState
    from notify_streams.web.verdict.region_status import Series, WorkerStatus

log = logging.getLogger(__name__)

#: From the beginning of one observation to that of the next one.
EVERY_S: Final = 5.0
_PAUSE_S: Final = 1.0
_WITHOUT_LEDGER: Final = ("registry", "forward", "receipts")


class RegionCollector:
    """The status of the worker's region, at most some seconds old."""

    def __init__(self, worker: NotifyApp) -> None:
        self._worker = worker
        self._probes = ServiceProbes(worker)
        self._window = CounterWindow()
        self._losses = LostRecords()
        self._history = ProblemHistory()
        self._store = HistoryStore(worker.preferences.redis, worker.settings.region, worker.worker_id)
        self._slots: dict[int, Slot] = {}
        self._series: list[Series] = []
        self._totals = NO_TOTALS
        #: (monotonic time, role → lag) of the last observations.
        self._lags: deque[tuple[float, dict[str, int]]] = deque(maxlen=int(WINDOW_S / EVERY_S) + 1)
        #: Worker id → rounds in a row without an answer.
        self._misses: dict[str, int] = {}
        #: Since when Redis answers without a break, on the monotonic clock.
        self._redis_since: float | None = None
        self._log = ProblemLog()
        self._task: asyncio.Task[None] | None = None
        #: None until the first observation.
        self.status: RegionStatus | None = None
        # Views are created after the lifecycles have started.
        worker.web_started.append(self.start)
        worker.add_stop(self.stop)

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="region collector")

    async def stop(self) -> None:
        await tasks.stop([self._task])
        await self._probes.close()

    async def _run(self) -> None:
        while True:
            began = time.monotonic()
            try:
                await self._observe()
            except Exception:
                log.exception("the region was not observed", extra={"action": "verdict.failed"})
            await asyncio.sleep(max(_PAUSE_S, EVERY_S - (time.monotonic() - began)))

    async def _observe(self) -> None:
        services, peers, reads = await asyncio.gather(
            self._probes.ask(), region_peers(self._worker), read_databases(self._worker)
        )
        now = time.time()
        seen = self._observation(services, peers, reads)
        self._history.observe(now, problems_of(seen))
        self._add_slot(now, seen, reads)
        try:
            await self._store.exchange(self._history, self._slots, now)
        except StoreUnavailable as error:
            log.warning("the history was not stored", extra={"action": "verdict.not_stored", "error": str(error)})
        self._series = series(self._slots, now)
        verdict = self._history.verdict(now)
        self._log.look({f"{one.code} {one.about}": one.text for one in verdict.now}, time.monotonic())
        self.status = RegionStatus(
            self._worker.settings.region, verdict, list(seen.workers), self._totals, self._series
        )

    def _observation(self, services: Sequence[ServiceState], peers: Peers, reads: DatabaseReads) -> Observation:
        now = time.monotonic()
        workers = self._statuses(peers, now)
        self._window.add(now, {one.id: one.summary for one in workers if one.summary is not None})
        rows, complete = (None, False) if reads.ledger is None else reads.ledger
        lag = (
            summary_lag(workers)
            if rows is None
            else summary_lag(workers, _WITHOUT_LEDGER) | ledger_lag(rows, self._probes.ends)
        )
        if rows is not None:
            self._totals = ledger_totals(rows, complete=complete, at=datetime.now(UTC).replace(microsecond=0))
        self._totals = with_backlog(self._totals, reads.outbox, lag)
        self._lags.append((now, lag))
        return Observation(
            services=services,
            workers=workers,
            roles=needed_roles(self._worker.settings),
            ledger=None if rows is None else sums(rows, complete=complete),
            outbox=reads.outbox,
            overdue_s=reads.overdue_s,
            lag=lag,
            lag_before=self._lags[0][1] if now - self._lags[0][0] >= WINDOW_S - EVERY_S else {},
            lost=self._losses.add(now, rows if complete else None),
            clocks=self._clocks(peers, workers),
            rates=self._window.rates(),
        )

    def _statuses(self, peers: Peers, now: float) -> list[WorkerStatus]:
        if peers.redis_time is None:
            self._redis_since = None
        elif self._redis_since is None:
            self._redis_since = now
        self._misses = {
            peer.registered.entry.id: self._misses.get(peer.registered.entry.id, 0) + 1
            for peer in peers.workers
            if peer.summary is None
        }
        signs_count = self._redis_since is not None and now - self._redis_since >= DEAD_S
        return worker_statuses(peers, self._misses, signs_count=signs_count)

    def _clocks(self, peers: Peers, workers: Sequence[WorkerStatus]) -> dict[str, float]:
        ahead = {peer.registered.entry.id: peer.ahead_s for peer in peers.workers if peer.summary is not None}
        return self._probes.clocks | {name_of(one): ahead[one.id] for one in workers if one.id in ahead}

    def _add_slot(self, now: float, seen: Observation, reads: DatabaseReads) -> None:
        number = slot_of(now)
        if number in self._slots or seen.rates is None:
            return
        rows = None if reads.ledger is None else reads.ledger[0]
        self._slots[number] = slot_at(now, rows, self._totals, seen.rates)
        for old in [one for one in self._slots if one <= number - SLOTS]:
            del self._slots[old]


def summary_lag(workers: Sequence[WorkerStatus], roles: Collection[str] = ROLES) -> dict[str, int]:
    """Role → records that it has not processed, as its workers tell.

    Those that are gone tell nothing, so ledgers are better: of all roles it is for the time when no ledger can be read.
    """
    lag: dict[str, int] = {}
    for one in workers:
        if one.role in roles and one.summary is not None and one.summary.lag is not None:
            lag[one.role] = lag.get(one.role, 0) + one.summary.lag
    return lag


def region_collector(worker: NotifyApp) -> RegionCollector:
    """The one `RegionCollector` of a worker."""
    return one_for(worker, RegionCollector)
