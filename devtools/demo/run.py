"""Runs the demo: stack, workers, users, triggers, audit; stops what it started."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from devtools.demo.delivery_report import (
    SentTrigger,
    count_by_region,
    deliveries_per_s,
    latencies_ms,
    outage_report,
    provider_calls,
)
from devtools.demo.pace import SendingPace
from devtools.demo.region_outage import RegionOutage
from devtools.demo.report import DemoRates, DemoResult, print_report
from devtools.demo.sample_users import choice_records, sample_users, signup_records
from devtools.demo.traffic import triggers
from devtools.demo.wait import RegionWatcher
from devtools.stack import Stack
from devtools.stack.starting import start_services
from devtools.supervisor import Supervisor
from notify_streams.admin.audit import audit
from notify_streams.admin.bootstrap import bootstrap_region
from notify_streams.admin.trigger_producer import TriggerProducer, owner_of
from notify_streams.app import web_port
from notify_streams.cli.output import stop_signals
from notify_streams.preferences.categories import configured_categories
from notify_streams.roles import CHANNEL_ROLES, CHANNELS, ROLES, VIEWS, channel_of
from notify_streams.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from devtools.demo.sample_users import SampleUser
    from notify_streams.admin.trigger_producer import Upload

_DRAIN_S: Final = 180.0
#: For each region: the workers of all regions start concurrently on this machine.
_READY_S: Final = 300.0
_SLICE_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """The options of the command."""

    regions: tuple[str, ...] = ("us",)
    users: int = 5_000
    triggers: int = 20_000
    #: Triggers per second, over all regions.
    rate: int = 2_000
    seed: int = 1
    #: Keep everything running after the report, until a signal.
    stay: bool = False
    #: Kill the last region under load and start it again.
    outage: bool = False
    #: Seconds between the kill and the start.
    away_s: float = 10.0
    #: Let the standby serve its users meanwhile.
    failover: bool = False
    #: The channels that users have.
    channels: tuple[str, ...] = CHANNELS
    #: See `Stack.up`; None: as before.
    secure: bool | None = None

    @property
    def roles(self) -> tuple[str, ...]:
        """The workers of each region: all but those of unused channels."""
        return tuple(role for role in ROLES if role not in CHANNEL_ROLES or channel_of(role) in self.channels)


class Demo:
    """One run."""

    def __init__(self, plan: DemoPlan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._stack = Stack()
        self._environ = {
            **os.environ,
            "NOTIFY_STACK_DIR": str(self._stack.folder),
            "NOTIFY_DATA_DIR": str(self._stack.folder / "data"),
        }
        self._started = time.monotonic()
        self._seconds: dict[str, float] = {}
        self._sent: dict[str, SentTrigger] = {}
        self._outage: RegionOutage | None = None
        self._stop = asyncio.Event()
        #: A signal has cancelled `run`.
        self.is_interrupted = False
        self._supervisors: dict[str, Supervisor] = {}

    async def run(self) -> DemoResult:
        """Stops what it started, also after an error.

        Raises:
            CancelledError: by a signal (`is_interrupted`); all is stopped.
            NotifyError: a step failed or made no progress.
            StackFailed: a service did not start.
        """
        for name in (*stop_signals(), signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, self._interrupt, asyncio.current_task())
        async with AsyncExitStack() as closing:
            regions = await self._start(closing)
            watcher = await closing.enter_async_context(RegionWatcher(regions, self._console))
            await watcher.wait_until_ready(_READY_S * len(regions), self._plan.roles)
            self._end_step("workers")
            users = sample_users(self._plan.users, self._plan.regions, self._plan.seed)
            await self._sign_up(regions, users, watcher)
            self._end_step("sign-ups")
            rate = await self._send(regions, users, watcher)
            # New connections: the old ones may still back off from the killed region.
            async with RegionWatcher(regions, self._console) as watcher:
                await watcher.wait_until_drained("triggers processed", _DRAIN_S)
            self._end_step("triggers")
            report = await audit(regions, wait_s=_DRAIN_S)
            self._end_step("audit")
            calls = list(provider_calls(regions, self._sent))
            outage = None if self._outage is None else outage_report(calls, self._outage)
            sent_by = count_by_region(calls, self._outage)
            rates = DemoRates(self._plan.rate, round(rate), deliveries_per_s(calls))
            result = DemoResult(report, latencies_ms(calls), sent_by, rates, outage, self._seconds)
            if self._plan.stay:
                await self._stay(result, regions)
            return result

    async def _start(self, closing: AsyncExitStack) -> list[Settings]:
        names = self._plan.regions
        self._print(f"starting the services of {', '.join(names)}")
        before = set(self._stack.regions)
        if new := [name for name in names if name not in before]:
            closing.push_async_callback(asyncio.to_thread, self._stack.down, new)
        await start_services(self._stack, names, secure=self._plan.secure)
        regions = [load_settings(name, overlay=self._stack.settings_file(name)) for name in names]
        await asyncio.gather(*(bootstrap_region(settings) for settings in regions))
        self._end_step("services")
        self._print_seen(regions)
        closing.push_async_callback(self._stop_workers)
        for settings in regions:
            await self._start_workers(settings)
        return regions

    async def _start_workers(self, settings: Settings) -> None:
        logs = self._stack.folder / settings.region / "workers"
        supervisor = Supervisor(settings, self._plan.roles, logs, self._environ, self._print)
        self._supervisors[settings.region] = supervisor
        await supervisor.start()

    async def _stop_workers(self) -> None:
        await asyncio.gather(*(supervisor.stop() for supervisor in self._supervisors.values()))

    async def _sign_up(self, regions: Sequence[Settings], users: Sequence[SampleUser], watcher: RegionWatcher) -> None:
        categories = configured_categories()
        now = datetime.now(UTC)
        for settings in regions:
            subscription = self._stack.region(settings.region).sandbox.subscriptions()
            async with TriggerProducer(settings) as producer:
                await producer.send(
                    record
                    for number, user in enumerate(users)
                    if user.region == settings.region
                    for record in (
                        *signup_records(user, number, now, self._plan.channels, subscription),
                        *choice_records(user, categories, now),
                    )
                )
        await watcher.wait_until_drained(f"{len(users)} users signed up", _DRAIN_S)

    async def _send(self, regions: Sequence[Settings], users: Sequence[SampleUser], watcher: RegionWatcher) -> float:
        """Send to the regions in turn; returns the rate that was asked for, or the lower one at the end.

        After a third of the triggers the outage begins; its region gets none until it is back.
        """
        plan = self._plan
        homes = {user.user_id: user.region for user in users}
        async with AsyncExitStack() as closing:
            producers = {one.region: await closing.enter_async_context(TriggerProducer(one)) for one in regions}
            killed, outage = regions[-1], None
            stream = triggers(plan.triggers, users, time.time_ns(), regions[0].max_trigger_bytes + 1)
            taken_before = await watcher.taken()
            logs = [Path(one.sandbox_record) for one in regions if one.sandbox_record is not None]
            pace = SendingPace(plan.rate, logs, self._sent)
            sent, taken, round_, started = 0, 0, 0, time.monotonic()
            with watcher.bar("triggers sent", plan.triggers) as show:
                while part := list(islice(stream, max(1, int(pace.rate * _SLICE_S)))):
                    if plan.outage and outage is None and sent >= plan.triggers // 3:
                        del producers[killed.region]
                        outage = asyncio.create_task(self._run_outage(killed))
                    elif outage is not None and outage.done() and killed.region not in producers:
                        producers[killed.region] = await closing.enter_async_context(TriggerProducer(killed))
                    entered, producer = list(producers.items())[round_ % len(producers)]
                    self._note_sent(part, entered, homes)
                    await producer.send(part)
                    round_ += 1
                    sent += len(part)
                    elapsed = time.monotonic() - started
                    if int(elapsed / _SLICE_S) % 5 == 0 and outage is None:
                        taken = await watcher.taken() - taken_before
                    show(sent, f"{sent / elapsed:,.0f}/s sent, {taken / elapsed:,.0f}/s with an outcome")
                    await pace.wait(len(part))
            if outage is not None:
                await outage
            return pace.limit

    def _note_sent(self, part: Sequence[Upload], entered: str, homes: Mapping[str, str]) -> None:
        now = time.time()
        for _, _, value, _ in part:
            trigger = owner_of(value)
            if trigger.id is not None:
                self._sent.setdefault(trigger.id, SentTrigger(now, entered, homes.get(trigger.user_id or "")))

    async def _run_outage(self, settings: Settings) -> None:
        standby = settings.standby if self._plan.failover else None
        self._outage = RegionOutage(settings.region, standby, self._plan.away_s, self._environ)

        async def start_workers() -> None:
            await self._start_workers(settings)
            async with RegionWatcher([settings], self._console) as watcher:
                await watcher.wait_until_ready(_READY_S * len(self._plan.regions), self._plan.roles)

        await self._outage.run(self._stack, self._supervisors[settings.region], start_workers, self._print)

    async def _stay(self, result: DemoResult, regions: Sequence[Settings]) -> None:
        print_report(self._console, result)
        for settings in regions:
            token = settings.web_read_token
            note = f" (bearer token of views with users' data: {token.reveal()})" if token else ""
            self._print(f"region {settings.region}: http://127.0.0.1:{web_port(settings, VIEWS)}/{note}")
        self._print_seen(regions)
        self._print("Ctrl-C stops everything that the demo started.")
        await self._stop.wait()

    def _print_seen(self, regions: Sequence[Settings]) -> None:
        for settings in regions:
            if settings.sandbox_record is not None:
                self._print(f"what users of {settings.region} get: {settings.providers.fcm}/seen")

    def _interrupt(self, task: asyncio.Task[Any] | None) -> None:
        if self._plan.stay and "audit" in self._seconds:
            self._stop.set()
        elif task is not None:
            self.is_interrupted = True
            task.cancel()

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False)

    def _end_step(self, name: str) -> None:
        self._seconds[name] = round(time.monotonic() - self._started - sum(self._seconds.values()), 1)
