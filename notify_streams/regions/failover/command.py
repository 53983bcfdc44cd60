"""`notify-streams failover REGION --to REGION [--back]`: change who serves a region's people. The protocol is told in `control`.

In: the control logs of all regions. Out: what was done, or why not. A command that fails half way leaves the seat as it was, or
served by nobody until it is given again; never served by two.
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
    HomeRegion,
    HomeRegions,
    Step,
    fold,
    initial_homes,
    majority,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

    from notify_streams.regions.failover.log import ControlLog

_POLL_S: Final = 0.05
#: How often a command begins anew because a region came back while it claimed.
_RESTARTS: Final = 3


@dataclass(frozen=True, slots=True)
class FailoverResult:
    """A finished change."""

    seat: str
    server: str
    epoch: int
    #: Regions that did not answer: by the operator's word they are gone, and learn of this when they return.
    away: tuple[str, ...]
    #: Regions that stopped serving, by their own word.
    released: tuple[str, ...]


async def fail_over(
    logs: Mapping[str, ControlLog],
    seat: str,
    to: str,
    *,
    stopped: Collection[str] = (),
    is_running: Callable[[str], Awaitable[bool]] | None = None,
    patience_s: float = 8.0,
    say: Callable[[str], None] = lambda line: None,
    token: str | None = None,
) -> FailoverResult:
    """Let the region `to` serve the people of `seat`; `to=seat` hands them back. Giving it again after a failure is safe.

    Args:
        logs: of every region of the settings.
        stopped: regions whose Kafka answers though none of their workers runs, by the operator's word.
        is_running: whether a region whose Kafka answers has workers at all; one without needs nobody's word.
        patience_s: how long a region that serves may take to stop.

    Raises:
        Refused: no majority answers, `to` does not, another command is under way, or a region that answers does not stop.
        RetryLater: a region went away meanwhile.
    """
    for name in (seat, to):
        if name not in logs:
            raise Refused(f"there is no region {name!r}; there are {', '.join(sorted(logs))}")
    for _ in range(_RESTARTS):
        change = _Change(logs, seat, to, token or uuid.uuid4().hex)
        await change.read()
        say(f"answering: {', '.join(change.reached)}; away: {', '.join(change.away) or 'none'}")
        change.check()
        done = change.already()
        if done is not None:
            await change.spread(done)
            return FailoverResult(seat, to, done.epoch, change.away, ())
        await change.claim()
        if not await change.anyone_back():
            break
        say("a region came back meanwhile: once more, with it")
    else:
        raise RetryLater("regions come and go; give the command again")
    say(f"epoch {change.epoch} of {seat} is ours")
    releasing = [name for name in change.possible_servers() if name in change.reached and name != to]
    released = await asyncio.gather(*(change.release(name, patience_s, stopped, is_running) for name in releasing))
    say(f"stopped: {', '.join(releasing) or 'nobody had to'}")
    await change.serve()
    by_own_word = tuple(name for name, did in zip(releasing, released, strict=True) if did)
    return FailoverResult(seat, to, change.epoch, change.away, by_own_word)


class _Change:
    """One command's view of the logs."""

    def __init__(self, logs: Mapping[str, ControlLog], seat: str, to: str, token: str) -> None:
        self._logs = logs
        self._seat = seat
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
        names = list(self._logs)
        found = await asyncio.gather(*(self._logs[name].read() for name in names), return_exceptions=True)
        for name, log in zip(names, found, strict=True):
            if isinstance(log, RetryLater):
                continue
            if isinstance(log, BaseException):
                raise log
            self._records[name] = log[0]
        self.epoch = 1 + max((record.epoch for record in self._of_seat()), default=0)

    def check(self) -> None:
        """Refuse what cannot work with the regions that answer."""
        if self._to in self.away:
            raise Refused(f"{self._to} does not answer and so cannot serve {self._seat}'s people")
        needed = majority(list(self._logs))
        if len(self.reached) < needed:
            raise Refused(
                f"{len(self.reached)} of {len(self._logs)} regions answer; a change of who serves takes {needed}, "
                "so that no two changes can be made at once"
            )

    async def anyone_back(self) -> bool:
        """Whether a region that was away answers now: it may have looked into the logs before the claim was there."""
        found = await asyncio.gather(*(self._logs[name].read() for name in self.away), return_exceptions=True)
        return any(not isinstance(log, BaseException) for log in found)

    def already(self) -> ControlRecord | None:
        """The record by which `to` serves, if that is how things are and nothing else was begun."""
        highest = max(self._of_seat(), key=lambda record: record.epoch, default=None)
        if highest is None:
            return None
        serves = [one for one in self._of_seat() if one.step == "serve" and one.token == highest.token]
        return serves[0] if serves and serves[0].server == self._to else None

    async def spread(self, record: ControlRecord) -> None:
        """Write a finished change where it is missing: what an earlier try did not come to."""
        for name in self.reached:
            if record not in self._records[name]:
                await self._logs[name].append(record)

    def possible_servers(self) -> list[str]:
        """Whoever may be serving: the server of the last finished change, and everyone for whom one was begun since."""
        finished = max((one for one in self._of_seat() if one.step == "serve"), key=lambda one: one.epoch, default=None)
        found = {self._seat if finished is None else finished.server}
        since = 0 if finished is None else finished.epoch
        found |= {one.server for one in self._of_seat() if one.step == "claim" and one.epoch > since}
        found |= {name for name in self.reached if self._seat_of(name).server == name}
        return sorted(found)

    async def claim(self) -> None:
        await asyncio.gather(*(self._append(name, "claim", self._to) for name in self.reached))
        for name in self.reached:
            seat = await self._look(name)
            if (seat.claimed, seat.claim_token) != (self.epoch, self._token):
                raise Refused(
                    f"another change of who serves {self._seat} is under way (epoch {seat.claimed} in {name})"
                )

    async def release(
        self,
        name: str,
        patience_s: float,
        stopped: Collection[str],
        is_running: Callable[[str], Awaitable[bool]] | None,
    ) -> bool:
        """Make `name` stop; whether it said so itself."""
        await self._append(name, "release", self._to)
        if name in stopped or not await _runs(name, is_running):
            return False  # whoever starts there reads the release first
        try:
            async with asyncio.timeout(patience_s):
                while name not in (await self._look(name)).released:  # noqa: ASYNC110 (nothing here could set an event)
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise Refused(
                f"{name} answers, and has not stopped serving {self._seat}'s people within {patience_s:.0f} s; nobody serves "
                f"them now. Give the command again, or, if no worker runs in {name}, with --stopped {name}"
            ) from None
        return True

    async def serve(self) -> None:
        """First where it counts, then everywhere that answers; the others are told by their neighbours."""
        await self._append(self._to, "serve", self._to)
        others = [name for name in self.reached if name != self._to]
        await asyncio.gather(*(self._append(name, "serve", self._to) for name in others), return_exceptions=True)

    async def _look(self, name: str) -> HomeRegion:
        self._records[name] = (await self._logs[name].read())[0]
        return self._seat_of(name)

    async def _append(self, name: str, step: Step, server: str) -> None:
        record = ControlRecord(self._seat, self.epoch, step, server, self._token, datetime.now(UTC))
        await self._logs[name].append(record)

    def _seat_of(self, name: str) -> HomeRegion:
        seats: HomeRegions = fold(initial_homes(self._logs), self._records[name])
        return seats[self._seat]

    def _of_seat(self) -> Iterable[ControlRecord]:
        return (one for records in self._records.values() for one in records if one.seat == self._seat)


async def _runs(name: str, is_running: Callable[[str], Awaitable[bool]] | None) -> bool:
    """Whether workers run there; yes where nobody knows."""
    try:
        return is_running is None or await is_running(name)
    except RetryLater:
        return True
