"""Injects faults one after the other and measures who names them, and when."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from devtools.faults.table import text_of
from devtools.faults.witnesses import Seen, codes, first_seen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from devtools.faults.cases import Fault
    from devtools.faults.injections import FaultTarget
    from devtools.faults.prometheus import Prometheus
    from devtools.faults.witnesses import Commands, Logs, Page

#: What is promised: seconds until a fault is named, and until it is no longer.
NAMED_S: Final = 30.0
QUIET_S: Final = 60.0
#: It is watched for longer, so that a miss has a number.
_WATCHED_S: Final = 45.0
_QUIET_WATCHED_S: Final = 90.0
#: A trigger of the time of the fault is asked about after this, so that it has come as far as it can.
_WHY_AFTER_S: Final = 12.0


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one fault. Times are seconds; None: not within the time for which it was watched."""

    fault: str
    title: str
    #: The page's first line, a firing alert with its summary, a line of `doctor`.
    page: Seen | None
    alert: Seen | None
    doctor: Seen | None
    #: What `why` said of a trigger that met the fault; a line of a log.
    why: str
    log: str | None
    #: Since the fault's end: the page no longer names it; nothing at all is wrong now; no alert of it fires.
    gone: Seen | None
    quiet: Seen | None
    alert_ended: Seen | None
    last_hour: str | None
    #: What does not hold; empty if all does.
    misses: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not self.misses

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "holds": self.holds}


class Drill:
    """One region with those who watch it."""

    def __init__(
        self,
        region: FaultTarget,
        page: Page,
        prometheus: Prometheus,
        commands: Commands,
        logs: Callable[[], Logs],
        report: Callable[[str], None],
    ) -> None:
        self._region = region
        self._page = page
        self._prometheus = prometheus
        self._commands = commands
        self._logs = logs
        self._report = report

    async def run(self, faults: Sequence[Fault]) -> list[Row]:
        """A row for each fault. Each begins when nothing is wrong any more, if that comes."""
        rows = []
        for fault in faults:
            await self._wait_until_gone(fault)
            self._report(f"{fault.title}: begins")
            row = await self._run_one(fault)
            self._report(text_of(row.as_json()))
            rows.append(row)
        return rows

    async def _wait_until_gone(self, fault: Fault) -> None:
        """Wait until nothing is wrong.

        If the machine is too busy for that, until neither the page nor an alert names this fault.
        """
        since = time.monotonic()
        if await first_seen(self._page.quiet, since, _QUIET_WATCHED_S) is None:
            verdict = await self._page.verdict()
            wrong = "no answer" if verdict is None else ", ".join(codes(verdict["now"]))
            self._report(f"the region is not quiet after {_QUIET_WATCHED_S:.0f} s: {wrong}")
        await first_seen(lambda: self._page.without(fault.code), since, 2 * _QUIET_WATCHED_S)
        await first_seen(lambda: self._ended(fault), since, 2 * _QUIET_WATCHED_S)

    async def _run_one(self, fault: Fault) -> Row:
        logs = self._logs()
        began = time.monotonic()
        async with fault.inject(self._region):
            trigger_id = self._region.load.watched_trigger(fault.meets)
            page, alert, doctor, why = await asyncio.gather(
                first_seen(lambda: self._page.headline_with(fault.code, fault.named_in), began, _WATCHED_S),
                first_seen(lambda: self._firing(fault), began, _WATCHED_S),
                first_seen(lambda: self._commands.doctor_line(fault.named_in), began, _WATCHED_S),
                self._why(fault, trigger_id, began),
            )
            log = logs.line_with(fault.log)
        ended = time.monotonic()
        gone, quiet, alert_ended = await asyncio.gather(
            first_seen(lambda: self._page.without(fault.code), ended, _QUIET_WATCHED_S),
            first_seen(self._page.quiet, ended, _QUIET_WATCHED_S),
            first_seen(lambda: self._ended(fault), ended, _QUIET_WATCHED_S),
        )
        past = await self._page.past(fault.code)
        row = Row(fault.name, fault.title, page, alert, doctor, why, log, gone, quiet, alert_ended, past)
        row.misses.extend(misses(fault, row))
        return row

    async def _firing(self, fault: Fault) -> str | None:
        firing = await self._prometheus.firing()
        return next((f"{name}: {firing[name]}" for name in fault.alerts if name in firing), None)

    async def _ended(self, fault: Fault) -> str | None:
        firing = await self._prometheus.firing()
        return None if firing.keys() & set(fault.alerts) else "no alert fires"

    async def _why(self, fault: Fault, trigger_id: str, began: float) -> str:
        """The last answer; asked until it names the fault, while there is time to name it."""
        said = ""
        await asyncio.sleep(_WHY_AFTER_S)
        while not said or (not fault.explained_by(said) and time.monotonic() - began < NAMED_S):
            said = await self._commands.why(trigger_id)
        return said


def misses(fault: Fault, row: Row) -> list[str]:
    """What does not hold in a row, in words."""
    limits = (
        ("the page's first line names it", row.page, NAMED_S),
        ("the alert fires", row.alert, NAMED_S),
        ("doctor names it", row.doctor, NAMED_S),
        ("the page no longer names it after its end", row.gone, QUIET_S),
        ("nothing is wrong now after its end", row.quiet, QUIET_S),
        ("the alert ends", row.alert_ended, QUIET_S),
    )
    found = [f"{what}: {_late(seen, limit_s)}" for what, seen, limit_s in limits if _late(seen, limit_s)]
    if row.last_hour is None:
        found.append("the last hour does not tell it")
    if not fault.explained_by(row.why):
        found.append("why does not name it")
    if row.log is None:
        found.append("no line of a log names it")
    return found


def _late(seen: Seen | None, limit_s: float) -> str:
    if seen is None:
        return "never"
    return f"after {seen.after_s:.0f} s" if seen.after_s > limit_s else ""
