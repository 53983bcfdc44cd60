"""Changes which region serves a home region's users; see `protocol`.

A command that fails half way leaves the old server in place, or no server until the command is repeated; never two servers.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from notify_streams.errors import Refused, RetryLater
from notify_streams.regions.failover.protocol import (
    ControlRecord,
    ControlStep,
    HomeRegion,
    claims_up_to,
    credible,
    fold,
    initial_homes,
    majority,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

    from notify_streams.regions.failover.log import ControlLog

_POLL_S: Final = 0.05
#: How often a command starts over because a region came back while it claimed.
_RESTARTS: Final = 3


@dataclass(frozen=True, slots=True)
class FailoverResult:
    """A finished change."""

    home: str
    server: str
    epoch: int
    #: Regions that did not answer. They count as stopped, by the operator's decision, and read of the change when they return.
    away: tuple[str, ...]
    #: Regions that confirmed that they stopped serving.
    released: tuple[str, ...]


async def fail_over(
    logs: Mapping[str, ControlLog],
    home: str,
    to: str,
    *,
    stopped: Collection[str] = (),
    is_running: Callable[[str], Awaitable[bool]] | None = None,
    release_timeout_s: float = 8.0,
    report: Callable[[str], None] = lambda line: None,
    token: str | None = None,
) -> FailoverResult:
    """Let the region `to` serve the users of `home`; `to=home` hands them back. Safe to repeat after a failure.

    Args:
        logs: the control logs of all regions of the settings.
        stopped: regions whose Kafka answers but where, by the operator's word, no worker runs.
        is_running: whether workers run in a region; a region without workers need not confirm that it stopped.
        release_timeout_s: how long a serving region may take to stop.
        report: called with each line of progress.

    Raises:
        Refused: no majority answers, `to` does not answer, another command is under way, or a region that answers does not stop.
        RetryLater: a region stopped answering meanwhile.
    """
    for name in (home, to):
        if name not in logs:
            raise Refused(f"unknown region {name!r}; the regions are {', '.join(sorted(logs))}")
    for _ in range(_RESTARTS):
        change = _Change(logs, home, to, token or uuid.uuid4().hex)
        await change.read()
        report(f"answering: {', '.join(change.reached)}; away: {', '.join(change.away) or 'none'}")
        change.check()
        finished = change.finished_record()
        if finished is not None:
            await change.copy_where_missing(finished)
            return FailoverResult(home, to, finished.epoch, change.away, ())
        await change.claim()
        if not await change.any_returned():
            break
        report("a region came back meanwhile; starting over")
    else:
        raise RetryLater("regions keep coming back; run the command again")
    report(f"claimed epoch {change.epoch} of {home}")
    releasing = [name for name in change.possible_servers() if name in change.reached and name != to]
    confirmed = await asyncio.gather(
        *(change.release(name, release_timeout_s, stopped, is_running) for name in releasing)
    )
    report(f"stopped: {', '.join(releasing) or 'none'}")
    await change.serve()
    released = tuple(name for name, did in zip(releasing, confirmed, strict=True) if did)
    return FailoverResult(home, to, change.epoch, change.away, released)


class _Change:
    """One attempt of a command, with the records of the logs that it has read."""

    def __init__(self, logs: Mapping[str, ControlLog], home: str, to: str, token: str) -> None:
        self._logs = logs
        self._home = home
        self._to = to
        self._token = token
        self._records: dict[str, list[ControlRecord]] = {}
        self.epoch = 0

    @property
    def reached(self) -> Sequence[str]:
        return list(self._records)

    @property
    def away(self) -> tuple[str, ...]:
        return tuple(name for name in self._logs if name not in self._records)

    async def read(self) -> None:
        """Read all logs; choose the next epoch."""
        names = list(self._logs)
        results = await asyncio.gather(*(self._logs[name].read() for name in names), return_exceptions=True)
        for name, result in zip(names, results, strict=True):
            if isinstance(result, RetryLater):
                continue
            if isinstance(result, BaseException):
                raise result
            self._records[name] = credible(initial_homes(self._logs), result[0])
        self.epoch = 1 + max((record.epoch for record in self._records_of_home()), default=0)

    def check(self) -> None:
        """Refuse what cannot work with the regions that answer."""
        if self._to in self.away:
            raise Refused(f"{self._to} does not answer, so it cannot serve {self._home}'s users")
        needed = majority(list(self._logs))
        if len(self.reached) < needed:
            raise Refused(
                f"{len(self.reached)} of {len(self._logs)} regions answer; a failover needs {needed}, "
                "so that no two failovers can run at once"
            )

    async def any_returned(self) -> bool:
        """Whether a region that was away answers now: it may have read the logs before the claim was written."""
        results = await asyncio.gather(*(self._logs[name].read() for name in self.away), return_exceptions=True)
        return any(not isinstance(result, BaseException) for result in results)

    def finished_record(self) -> ControlRecord | None:
        """The `serve` record of `to`, if it already serves and no other change was begun since."""
        highest = max(self._records_of_home(), key=lambda record: record.epoch, default=None)
        if highest is None:
            return None
        serves = [one for one in self._records_of_home() if one.step == "serve" and one.token == highest.token]
        return serves[0] if serves and serves[0].server == self._to else None

    async def copy_where_missing(self, record: ControlRecord) -> None:
        """Write a finished change to the logs that an interrupted command did not reach."""
        for name in self.reached:
            if record not in self._records[name]:
                await self._logs[name].append(record)

    def possible_servers(self) -> list[str]:
        """Regions that may be serving: the server of the last finished change, and of every change begun since."""
        serves = (one for one in self._records_of_home() if one.step == "serve")
        finished = max(serves, key=lambda one: one.epoch, default=None)
        found = {self._home if finished is None else finished.server}
        since = 0 if finished is None else finished.epoch
        found |= {one.server for one in self._records_of_home() if one.step == "claim" and one.epoch > since}
        found |= {name for name in self.reached if self._state_in(name).server == name}
        return sorted(found)

    async def claim(self) -> None:
        """Claim the epoch in every region that answers.

        Raises:
            Refused: another command holds the claim in one of them.
        """
        await asyncio.gather(*(self._claim_in(name) for name in self.reached))
        for name in self.reached:
            state = await self._read_state(name)
            if (state.claimed, state.claim_token) != (self.epoch, self._token):
                raise Refused(f"another failover of {self._home} is under way (epoch {state.claimed} in {name})")

    async def _claim_in(self, name: str) -> None:
        for epoch in claims_up_to(self._state_in(name), self.epoch):
            await self._append(name, "claim", self._to, epoch)

    async def release(
        self,
        name: str,
        timeout_s: float,
        stopped: Collection[str],
        is_running: Callable[[str], Awaitable[bool]] | None,
    ) -> bool:
        """Make `name` stop serving; returns whether it confirmed that.

        Raises:
            Refused: workers run there and did not confirm within `timeout_s`.
        """
        await self._append(name, "release", self._to)
        if name in stopped or not await _may_run(name, is_running):
            return False  # a worker that starts there reads the release first
        try:
            async with asyncio.timeout(timeout_s):
                while name not in (await self._read_state(name)).released:  # noqa: ASYNC110 (nothing here could set an event)
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise Refused(
                f"{name} answers but has not stopped serving {self._home}'s users within {timeout_s:.0f} s; no region serves "
                f"them now. Run the command again, or, if no worker runs in {name}, with --stopped {name}"
            ) from None
        return True

    async def serve(self) -> None:
        """Finish the change in the new server's log, then in the others that answer; the rest copy it later (`gossip`)."""
        await self._append(self._to, "serve", self._to)
        others = [name for name in self.reached if name != self._to]
        await asyncio.gather(*(self._append(name, "serve", self._to) for name in others), return_exceptions=True)

    async def _read_state(self, name: str) -> HomeRegion:
        self._records[name] = (await self._logs[name].read())[0]
        return self._state_in(name)

    async def _append(self, name: str, step: ControlStep, server: str, epoch: int | None = None) -> None:
        record = ControlRecord(self._home, epoch or self.epoch, step, server, self._token, datetime.now(UTC))
        await self._logs[name].append(record)

    def _state_in(self, name: str) -> HomeRegion:
        return fold(initial_homes(self._logs), self._records[name])[self._home]

    def _records_of_home(self) -> Iterable[ControlRecord]:
        return (one for records in self._records.values() for one in records if one.home == self._home)


async def _may_run(name: str, is_running: Callable[[str], Awaitable[bool]] | None) -> bool:
    """Whether workers may run there; True if that cannot be found out."""
    try:
        return is_running is None or await is_running(name)
    except RetryLater:
        return True
