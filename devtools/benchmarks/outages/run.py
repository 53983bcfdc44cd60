"""Runs `bench outages`.

The outages come one after another in one region, each after nothing waits any more.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import msgspec

from devtools import subprocesses
from devtools.benchmarks.backlog.acceptance_tracker import AcceptanceTracker
from devtools.benchmarks.outages.calls import back_after_s, calls_in_vain, early_calls, first_fault
from devtools.benchmarks.outages.cases import LATE_S
from devtools.benchmarks.outages.load import Load
from devtools.benchmarks.outages.outcomes import OutcomeReader
from devtools.benchmarks.outages.policy import explained_calls
from devtools.benchmarks.outages.report import OUTAGE, RECOVERY, CriticalLatency, OutageResult, report
from devtools.benchmarks.outages.sandboxes import sandboxes
from devtools.benchmarks.rates import RecordsMissing
from devtools.benchmarks.region import local_region, service_pids, worker_pool
from devtools.cpu import cpu_s
from devtools.percentiles import percentiles_of
from devtools.sandbox.call_log import read_calls
from devtools.workers import low_priority
from notify_streams.admin.audit import audit
from notify_streams.cli.output import print_progress
from notify_streams.delivery.retry_delay import RETRY_DELAYS
from notify_streams.errors import NotifyError
from notify_streams.stores.mongo import Shards

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from devtools.benchmarks.outages.cases import Outage
    from devtools.benchmarks.outages.outcomes import Outcomes
    from devtools.benchmarks.outages.sandboxes import Sandbox
    from devtools.sandbox.call_log import ReceivedCall
    from devtools.workers import Worker, WorkerPool
    from notify_streams.roles import Channel
    from notify_streams.settings import Settings

_ROLES: Final = ("standard", "critical", "push", "email", "cric_sms")
#: Normal operation under load before an outage begins.
_LEAD_S: Final = 5.0
_RECOVERY_S: Final = 40.0
_NORMAL_S: Final = 30.0
_WARM_UP_S: Final = 10.0
_WARM_UPS: Final = 5
_POLL_S: Final = 0.2
_ARRIVE_S: Final = 30.0
_SETTLED_S: Final = 30.0
#: Less than this share of a processor is not measurable.
_LEAST_SHARE: Final = 0.02


async def run(folder: Path, outages: Sequence[Outage], rate: float, seconds: float) -> dict[str, Any]:
    """Start a local region in `folder`, measure, stop and wipe it.

    Raises:
        NotifyError: a trigger is unaccounted for, or the audit does not hold, so there is no figure; or something did not start.
    """
    load = [os.getloadavg()[0]]
    async with (
        local_region(folder) as settings,
        sandboxes(folder) as (failing, other),
        worker_pool(folder, _environ(folder, failing, other)) as pool,
        Shards(settings) as shards,
    ):
        bench = _Bench(settings, folder, failing, other, pool, OutcomeReader(shards), rate)
        await bench.start()
        found = [await bench.measure(outage, seconds) for outage in outages]
        await bench.audit()
    load.append(os.getloadavg()[0])
    return report(found, machine={"load_average": load}, rate=rate, seconds=seconds)


def _environ(folder: Path, failing: Sandbox, other: Sandbox) -> dict[str, str]:
    return {
        "NOTIFY_STACK_DIR": str(folder),
        "NOTIFY_PROVIDERS__FCM": failing.http,
        "NOTIFY_PROVIDERS__SMTP": failing.smtp,
        "NOTIFY_PROVIDERS__TWILIO": other.http,
        # The local stack retries sooner.
        "NOTIFY_PROVIDERS__RETRY_PACE": "1.0",
    }


@dataclass(frozen=True, slots=True)
class _Phase:
    """Unix seconds, and the processors that the region used."""

    began: float
    ended: float
    processors: float

    def p99_ms(self, due: dict[str, float], accepted: dict[str, float]) -> float:
        took = [accepted[one] - at for one, at in due.items() if self.began <= at < self.ended]
        return percentiles_of(took).p99


class _Bench:
    """The running benchmark."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        failing: Sandbox,
        other: Sandbox,
        pool: WorkerPool,
        outcomes: OutcomeReader,
        rate: float,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._failing = failing
        self._other = other
        self._pool = pool
        self._outcomes = outcomes
        self._rate = rate
        self._accepted = AcceptanceTracker(str(other.accepted))
        self._services = service_pids(folder)

    async def start(self) -> None:
        """Start the workers; returns when every trigger arrives."""
        workers = [await self._pool.start(role, yields=True) for role in _ROLES]
        await asyncio.gather(*(worker.wait_until_ready() for worker in workers))
        for channel in ("push", "email"):
            for _ in range(_WARM_UPS):
                if await self._warm_up(channel):
                    break
            else:
                raise NotifyError(f"triggers for {channel} do not reach the provider though every worker is ready")

    async def _warm_up(self, channel: Channel) -> bool:
        load = Load(self._settings, channel, self._rate)
        await load.send(_WARM_UP_S)
        try:
            found = await self._outcomes.wait(channel, load.standard, _WARM_UP_S)
            await self._all_critical(load)
        except NotifyError:  # a worker has not loaded all users yet
            return False
        return found.states.keys() == {"sent"}

    async def measure(self, outage: Outage, seconds: float) -> OutageResult:
        """Normal operation; then lead, outage, recovery, drain; then the same load beside a foreign process."""
        normal = await self._undisturbed(outage.channel)
        worker = self._pool.running(outage.channel)[0]
        load = Load(self._settings, outage.channel, self._rate, expires_after_s=seconds / 2)
        known_calls = len(read_calls(self._failing.calls))
        sending = asyncio.create_task(load.send(_LEAD_S + seconds + _RECOVERY_S))
        opened = asyncio.create_task(self._when_open(worker, outage))
        try:
            await asyncio.sleep(_LEAD_S)
            during = await self._phase(self._fail(outage, seconds))
            after = await self._phase(self._recover(outage, sending))
            opened_at = opened.result() if opened.done() else None
        finally:
            opened.cancel()
            sending.cancel()
        retrying = await self._outcomes.retrying(outage.channel)
        print_progress(f"{outage.name}: {retrying} deliveries wait for a retry")
        outcomes = await self._outcomes.wait(outage.channel, load.standard)
        await self._all_critical(load)
        calls = read_calls(self._failing.calls)[known_calls:]
        beside = {
            phase: await self._beside_cpu(outage.channel, normal, one.processors)
            for phase, one in ((OUTAGE, during), (RECOVERY, after))
        }
        return self._result(outage, load, (during, after), opened_at, retrying, outcomes, calls, beside)

    def _result(
        self,
        outage: Outage,
        load: Load,
        phases: tuple[_Phase, _Phase],
        opened_at: float | None,
        retrying: int,
        outcomes: Outcomes,
        calls: list[ReceivedCall],
        beside: dict[str, tuple[float, float]],
    ) -> OutageResult:
        during, after = phases
        # A stopped sandbox sees its calls later, all at once.
        began = during.began if outage.is_stopped else first_fault(calls) or during.began
        failed_at = began if outage.is_answered else began + LATE_S
        last = max((one.at for one in calls if one.at < during.ended), default=during.ended)
        own_delay_s = RETRY_DELAYS["standard", outage.channel].min_s
        providers = self._settings.providers
        in_flight = providers.smtp_connections if outage.channel == "email" else providers.max_in_flight
        timeout_s = providers.call_timeout_s(providers.provider_of[outage.channel])
        return OutageResult(
            outage.name,
            len(load.standard),
            outcomes.states,
            retrying,
            len(calls),
            outcomes.calls,
            calls_in_vain(calls),
            explained_calls(outage, during.ended - during.began, self._rate, in_flight, timeout_s),
            0 if outage.is_stopped else early_calls(calls, own_delay_s, outage.retry_after_s),
            None if opened_at is None else max(0.0, opened_at - failed_at),
            back_after_s(
                outcomes.accepted_at,
                max(during.ended, last + (outage.retry_after_s or 0.0)),
                after.ended,
                self._rate,
            ),
            {
                name: CriticalLatency(one.p99_ms(load.critical, self._accepted.critical), *beside[name])
                for name, one in ((OUTAGE, during), (RECOVERY, after))
            },
        )

    async def _fail(self, outage: Outage, seconds: float) -> None:
        await self._failing.fail(outage)
        print_progress(f"{outage.name}: the outage began")
        await asyncio.sleep(seconds)

    async def _recover(self, outage: Outage, sending: asyncio.Task[None]) -> None:
        await self._failing.recover(outage)
        print_progress(f"{outage.name}: the outage ended")
        await sending

    async def _phase(self, acting: Any) -> _Phase:
        began, before = time.time(), self._cpu_s()
        await acting
        ended = time.time()
        return _Phase(began, ended, (self._cpu_s() - before) / (ended - began))

    def _cpu_s(self) -> float:
        workers = [one.process.pid for one in self._pool.workers.values()]
        sandboxes = [one.process.pid for one in (self._failing, self._other)]
        return sum(map(cpu_s, (*workers, *self._services, *sandboxes)))

    async def _when_open(self, worker: Worker, outage: Outage) -> float:
        """When the breaker was seen open, up to a second late: that long a worker shows the same metrics."""
        wanted = f'notify_provider_stopped{{provider="{outage.provider}"}} 1.0'
        async with aiohttp.ClientSession() as http:
            while True:
                async with http.get(f"{worker.url}/metrics") as response:
                    if wanted in await response.text():
                        return time.time()
                await asyncio.sleep(_POLL_S)

    async def _undisturbed(self, channel: Channel) -> tuple[float, float]:
        """The region's processors and the critical p99 in milliseconds, without an outage."""
        load = Load(self._settings, channel, self._rate)
        phase = await self._phase(load.send(_NORMAL_S))
        await self._outcomes.wait(channel, load.standard)
        await self._all_critical(load)
        return phase.processors, phase.p99_ms(load.critical, self._accepted.critical)

    async def _beside_cpu(
        self, channel: Channel, normal: tuple[float, float], processors: float
    ) -> tuple[float, float]:
        """Critical p99 beside processes that use what `processors` are more than in `normal` operation, and what that is."""
        more = processors - normal[0]
        if more < _LEAST_SHARE:
            return normal[1], 0.0
        count = ceil(more)
        arguments = "devtools.benchmarks.views.clients", "cpu", str(more / count)
        command = *low_priority("standard"), *subprocesses.python_module(*arguments)
        async with AsyncExitStack() as closing:
            for _ in range(count):
                await closing.enter_async_context(subprocesses.running(command))
            _, p99_ms = await self._undisturbed(channel)
        return p99_ms, round(more, 2)

    async def _all_critical(self, load: Load) -> None:
        """Wait until every critical trigger is accepted.

        Raises:
            RecordsMissing: one is not.
        """
        until = time.monotonic() + _ARRIVE_S
        while missing := await self._missing(load):
            if time.monotonic() > until:
                total = len(load.critical)
                raise RecordsMissing(f"critical triggers, without {missing[0]}", total - len(missing), total)
            await asyncio.sleep(_POLL_S)

    async def _missing(self, load: Load) -> list[str]:
        await asyncio.to_thread(self._accepted.read_on)
        return self._accepted.missing(load.critical)

    async def audit(self) -> None:
        """Compare MongoDB, Kafka and both provider logs.

        Raises:
            NotifyError: the audit does not hold.
        """
        record = self._folder / "accepted.jsonl"
        record.write_bytes(b"".join(one.accepted.read_bytes() for one in (self._failing, self._other)))
        settings = msgspec.structs.replace(self._settings, sandbox_record=str(record))
        found = await audit([settings], print_progress, wait_s=_SETTLED_S)
        if not found["holds"]:
            checks = ", ".join(one["check"] for one in (*found["differences"], *found["in_flight"]))
            raise NotifyError(f"the audit does not hold ({checks}): no figure")
