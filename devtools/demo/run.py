"""Drives the demo: stack, workers, people, triggers, audit. Ends only what it started."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from devtools.demo.delivery_report import SentTrigger, count_by_region, latencies_ms, outage_report, provider_calls
from devtools.demo.region_outage import RegionOutage
from devtools.demo.sample_users import choice_records, sample_users, signup_records
from devtools.demo.traffic import triggers
from devtools.demo.wait import RegionWatcher
from devtools.stack import Stack
from devtools.supervisor import Supervisor
from notify_streams.admin.audit import audit
from notify_streams.admin.bootstrap import bootstrap_region
from notify_streams.admin.trigger_producer import TriggerProducer, owner_of
from notify_streams.preferences.categories import configured_categories
from notify_streams.roles import CHANNEL_ROLES, CHANNELS, ROLES, channel_of
from notify_streams.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from devtools.demo.sample_users import SampleUser
    from notify_streams.admin.trigger_producer import Upload

_PATIENCE_S: Final = 180.0
#: For each region: its workers start side by side, and share the machine with the others'.
_READY_PATIENCE_S: Final = 120.0
_SLICE_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """What the demo does."""

    regions: tuple[str, ...] = ("us",)
    sample_users: int = 5_000
    triggers: int = 20_000
    #: Triggers per second, over all regions.
    rate: int = 2_000
    seed: int = 1
    #: Stay up afterwards, until a signal.
    stay: bool = False
    #: Kill the last of the regions while triggers go on, and bring it back.
    drill: bool = False
    #: How long it stays away.
    away_s: float = 10.0
    #: Let its standby serve its people meanwhile.
    failover: bool = False
    #: How people can be told.
    channels: tuple[str, ...] = CHANNELS

    @property
    def roles(self) -> tuple[str, ...]:
        """The workers of each region: all but those of channels that nobody uses."""
        return tuple(role for role in ROLES if role not in CHANNEL_ROLES or channel_of(role) in self.channels)


@dataclass(slots=True)
class DemoResult:
    """What the demo found."""

    #: Of `audit`.
    report: dict[str, Any]
    latency_ms: dict[str, dict[str, float]]
    #: See `told.places`.
    count_by_region: dict[str, int]
    #: See `told.of_the_loss`; None if no region was lost.
    loss: dict[str, Any] | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """The books close, which the audit says also of who was told by two regions, and nobody was told by a wrong one."""
        return bool(self.report["holds"]) and not self.places["elsewhere"]


class Demo:
    """One run."""

    def __init__(self, plan: DemoPlan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._stack = Stack()
        self._began = time.monotonic()
        self._seconds: dict[str, float] = {}
        self._sent: dict[str, SentTrigger] = {}
        self._loss: RegionOutage | None = None
        self._stop = asyncio.Event()
        self._supervisors: dict[str, Supervisor] = {}

    async def run(self) -> DemoResult:
        """Do it all; whatever happens, stop what was started.

        Raises:
            NotifyError, StackFailed: what could not be started, or made no progress.
        """
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, self._interrupt, asyncio.current_task())
        async with AsyncExitStack() as closing:
            regions = await self._start(closing)
            watch = await closing.enter_async_context(RegionWatcher(regions, self._console))
            await watch.wait_until_ready(_READY_PATIENCE_S * len(regions), self._plan.roles)
            self._lap("workers")
            audience = sample_users(self._plan.people, self._plan.regions, self._plan.seed)
            await self._sign_up(regions, audience, watch)
            self._lap("sign-ups")
            await self._send(regions, audience, watch)
            # Connections anew: those of before may still believe that a lost region is away.
            async with RegionWatcher(regions, self._console) as watch:
                await watch.wait_until_drained("triggers worked off", _PATIENCE_S)
            self._lap("triggers")
            report = await audit(regions)
            self._lap("audit")
            told = list(provider_calls(regions, self._sent))
            loss = None if self._loss is None else outage_report(told, self._loss)
            outcome = DemoResult(report, latencies_ms(told), count_by_region(told, self._loss), loss, self._seconds)
            if self._plan.stay:
                await self._stay(outcome, regions)
            return outcome

    async def _start(self, closing: AsyncExitStack) -> list[Settings]:
        names = self._plan.regions
        self._console.print(f"starting the services of {', '.join(names)}", highlight=False)
        before = set(self._stack.regions)
        closing.push_async_callback(asyncio.to_thread, self._down, [name for name in names if name not in before])
        await asyncio.to_thread(self._stack.up, names)
        regions = [load_settings(name, overlay=self._stack.settings_file(name)) for name in names]
        await asyncio.gather(*(bootstrap_region(settings) for settings in regions))
        self._lap("services")
        closing.push_async_callback(self._stop_workers)
        for settings in regions:
            await self._start_workers(settings)
        return regions

    async def _start_workers(self, settings: Settings) -> None:
        logs = self._stack.folder / settings.region / "workers"
        supervisor = Supervisor(settings, self._plan.roles, logs, self._environ(), self._console.print)
        self._supervisors[settings.region] = supervisor
        await supervisor.start()

    async def _stop_workers(self) -> None:
        await asyncio.gather(*(supervisor.stop() for supervisor in self._supervisors.values()))

    def _down(self, names: Sequence[str]) -> None:
        if names:
            self._stack.down(names)

    def _environ(self) -> dict[str, str]:
        return {
            **os.environ,
            "NOTIFY_STACK_DIR": str(self._stack.folder),
            "NOTIFY_DATA_DIR": str(self._stack.folder / "data"),
        }

    async def _sign_up(self, regions: Sequence[Settings], audience: Sequence[SampleUser], watch: RegionWatcher) -> None:
        categories = configured_categories()
        now = datetime.now(UTC)
        for settings in regions:
            at_home = [(number, person) for number, person in enumerate(audience) if person.region == settings.region]
            async with TriggerProducer(settings) as upstream:
                await upstream.send(
                    upload
                    for number, person in at_home
                    for upload in (
                        *signup_records(person, number, now, self._plan.channels),
                        *choice_records(person, categories, now),
                    )
                )
        await watch.wait_until_drained(f"{len(audience)} people signed up", _PATIENCE_S)

    async def _send(self, regions: Sequence[Settings], audience: Sequence[SampleUser], watch: RegionWatcher) -> None:
        plan = self._plan
        homes = {person.user_id: person.region for person in audience}
        async with AsyncExitStack() as closing:
            upstreams = {one.region: await closing.enter_async_context(TriggerProducer(one)) for one in regions}
            lost, drill = regions[-1], None
            stream = triggers(plan.triggers, audience, time.time_ns(), regions[0].max_trigger_bytes + 1)
            before = await watch.taken()
            sent, taken, turn, began = 0, 0, 0, time.monotonic()
            with watch.bar("triggers sent", plan.triggers) as print_report:
                while part := list(islice(stream, max(1, int(plan.rate * _SLICE_S)))):
                    if plan.drill and drill is None and sent >= plan.triggers // 3:
                        del upstreams[lost.region]
                        drill = asyncio.create_task(self._lose(lost))
                    elif drill is not None and drill.done() and lost.region not in upstreams:
                        upstreams[lost.region] = await closing.enter_async_context(TriggerProducer(lost))
                    entered, upstream = list(upstreams.items())[turn % len(upstreams)]
                    self._note(part, entered, homes)
                    await upstream.send(part)
                    turn += 1
                    sent += len(part)
                    elapsed = time.monotonic() - began
                    if int(elapsed / _SLICE_S) % 5 == 0 and drill is None:
                        taken = await watch.taken() - before
                    print_report(sent, f"{sent / elapsed:,.0f}/s in, {taken / elapsed:,.0f}/s accounted")
                    await asyncio.sleep(max(0.0, sent / plan.rate - (time.monotonic() - began)))
            if drill is not None:
                await drill

    def _note(self, part: Sequence[Upload], entered: str, homes: Mapping[str, str]) -> None:
        moment = time.time()
        for _, _, value, _ in part:
            trigger = owner_of(value)
            if trigger.id is not None:
                self._sent.setdefault(trigger.id, SentTrigger(moment, entered, homes.get(trigger.user_id or "")))

    async def _lose(self, settings: Settings) -> None:
        standby = settings.standby if self._plan.failover else None
        loss = self._loss = RegionOutage(settings.region, standby, self._plan.away_s, self._environ())

        async def start_workers() -> None:
            await self._start_workers(settings)
            async with RegionWatcher([settings], self._console) as watch:
                await watch.wait_until_ready(_READY_PATIENCE_S * len(self._plan.regions), self._plan.roles)

        def say(line: str) -> None:
            self._console.print(line, highlight=False)

        await loss.happen(self._stack, self._supervisors[settings.region], start_workers, say)

    async def _stay(self, outcome: DemoResult, regions: Sequence[Settings]) -> None:
        from devtools.demo.report import print_report

        print_report(self._console, outcome)
        for settings in regions:
            token = f" (bearer token of the protected views: {settings.web_token})" if settings.web_token else ""
            self._console.print(
                f"region {settings.region}: http://127.0.0.1:{settings.web_port_base}/{token}", highlight=False
            )
        self._console.print("Ctrl-C stops everything that this started.", highlight=False)
        await self._stop.wait()

    def _interrupt(self, task: asyncio.Task[Any] | None) -> None:
        if self._plan.stay and "audit" in self._seconds:
            self._stop.set()
        elif task is not None:
            task.cancel()

    def _lap(self, name: str) -> None:
        self._seconds[name] = round(time.monotonic() - self._began - sum(self._seconds.values()), 1)
