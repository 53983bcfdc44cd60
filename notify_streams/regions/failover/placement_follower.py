"""Who serves whom, kept up to date in one worker: learnt before the first batch, followed ever after.

In: the control logs. Out: `placement`, a value to decide a batch by. A worker of a region that was away fails closed: it serves
nobody until it has read its own log and enough of the others' (`control.enough_to_learn`; one of the two others, of three). So a
region that comes back knows of every failover; the price is that a region that is cut off from all others *and* restarted whole
waits for a link, or for an operator (`alone`). A worker that joins running ones needs no other region: they have learnt.
"""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from notify_streams import tasks
from notify_streams.errors import RetryLater
from notify_streams.regions.failover.placement import Placement
from notify_streams.regions.failover.protocol import (
    ControlRecord,
    HomeRegions,
    enough_to_learn,
    fold,
    initial_homes,
    missing,
    to_answer,
    to_yield,
)
from notify_streams.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from notify_streams.regions.failover.log import ControlLog

log = logging.getLogger(__name__)
_RETRY: Final = RetryPolicy("control_log", first_s=0.2, max_s=5.0)
_GOSSIP_EVERY_S: Final = 2.0
_POLL_S: Final = 0.1


class Heartbeat(Protocol):
    """Whether other workers of this region run that have learnt."""

    async def beat(self) -> None: ...
    async def others_run(self) -> bool:
        """True only if one has been seen to beat during this call."""
        ...


class PlacementFollower:
    """One worker's knowledge of who serves whom.

    Args:
        own: this region's log; `others` those of the other regions.
        fence: called with a placement's epoch; returns when no flush that was decided by an earlier one can commit any more.
        alone: an operator's word that no other region serves this one's people, for a region that can reach none.
    """

    def __init__(
        self,
        regions: Sequence[str],
        own: ControlLog,
        others: Mapping[str, ControlLog],
        fence: Callable[[int], Awaitable[None]],
        presence: Heartbeat | None = None,
        *,
        alone: bool = False,
    ) -> None:
        self._regions = regions
        self._own = own
        self._others = dict(others)
        self._fence = fence
        self._presence = presence
        self._alone = alone
        self._position = 0
        self._seats: HomeRegions = initial_homes(regions)
        self._read_of: dict[str, int] = {}
        self._changed = asyncio.Condition()
        #: None until `learn` has returned: nothing may be decided.
        self.placement: Placement | None = None
        #: Why it has not, for `/ready` and `/regions`.
        self.waiting_for: str | None = "this region's control log"
        #: Regions whose log could not be read at the last try.
        self.unreachable: frozenset[str] = frozenset()

    async def learn(self) -> Placement:
        """Return when this worker knows enough to serve; tries for ever, and never takes silence for an answer."""
        attempts = _RETRY.attempts()
        while self.placement is None:
            try:
                await self._try_to_learn()
            except RetryLater as error:
                self.waiting_for = str(error)
                await attempts.failed(error)
        self.waiting_for = None
        return self.placement

    async def run(self) -> None:
        """Follow the own log, answer releases, and bring over what other regions know. For as long as the worker lives."""
        running = [asyncio.create_task(one) for one in (self._follow(), self._gossip(), self._beat())]
        try:
            await asyncio.gather(*running)
        finally:
            await tasks.stop(running)

    async def changed(self, epoch: int) -> Placement:
        """Wait until the placement's epoch is larger than `epoch`: what a batch that must be held waits for."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.placement is not None and self.placement.epoch > epoch)
        assert self.placement is not None
        return self.placement

    async def step(self) -> None:
        """Read what is new in the own log and act on it; `run` does this over and over.

        Raises:
            RetryLater: the own Kafka does not answer, or the fence could not be raised. Nothing was answered then.
        """
        records, position = await self._own.read(self._position)
        self._seats = fold(self._seats, records)
        self._position = position
        placement = Placement(self._own.region, self._seats)
        if self.placement is None or placement.epoch == self.placement.epoch:
            await self._answer(placement)
            return
        async with self._changed:
            self.placement = placement
            self._changed.notify_all()
        await self._answer(placement)

    async def gossip(self) -> None:
        """Bring over finished changes that other regions know and this one does not."""
        for name, records in (await self._read_others(self._read_of)).items():
            for record in missing(self._seats, records[0]):
                log.warning(
                    "learnt from another region", extra={"action": "learn", "from": name, "epoch": record.epoch}
                )
                await self._own.append(record)
            self._read_of[name] = records[1]

    async def _try_to_learn(self) -> None:
        records, position = await self._own.read()
        seats = fold(initial_homes(self._regions), records)
        if self._presence is not None and await self._presence.others_run():
            records, position = await self._own.read()  # again: they may have learnt something while we looked
            seats = fold(initial_homes(self._regions), records)
        elif not self._alone:
            seats, position = await self._from_others(seats, position)
        self._position = position
        self._seats = seats
        async with self._changed:
            self.placement = Placement(self._own.region, seats)
            self._changed.notify_all()
        await self._answer(self.placement)

    async def _from_others(self, seats: HomeRegions, position: int) -> tuple[HomeRegions, int]:
        others = await self._read_others({})
        needed = enough_to_learn(self._regions)
        if 1 + len(others) < needed:
            raise RetryLater(
                f"{1 + len(others)} of {needed} control logs could be read; without them a failover may have gone unnoticed"
            )
        self._read_of = {name: read_to for name, (_, read_to) in others.items()}
        while to_write := to_yield(seats, [records for records, _ in others.values()], datetime.now(UTC)):
            for record in to_write:
                await self._own.append(record)
            # A claim that came in between makes what was written void: only what the log says afterwards counts.
            records, position = await self._own.read()
            seats = fold(initial_homes(self._regions), records)
        return seats, position

    async def _read_others(self, starts: Mapping[str, int]) -> dict[str, tuple[list[ControlRecord], int]]:
        names = list(self._others)
        found = await asyncio.gather(
            *(self._others[name].read(starts.get(name, 0)) for name in names), return_exceptions=True
        )
        read: dict[str, tuple[list[ControlRecord], int]] = {}
        for name, result in zip(names, found, strict=True):
            if isinstance(result, RetryLater):
                continue
            if isinstance(result, BaseException):
                raise result
            read[name] = result
        self.unreachable = frozenset(names) - read.keys()
        return read

    async def _answer(self, placement: Placement) -> None:
        for name, seat in self._seats.items():
            if seat in to_answer({name: seat}, self._own.region):
                await self._fence(placement.epoch)
                answer = ControlRecord(
                    name, seat.epoch, "released", self._own.region, seat.claim_token, datetime.now(UTC)
                )
                await self._own.append(answer)

    async def _follow(self) -> None:
        while True:
            await _RETRY.call(self.step)
            await asyncio.sleep(_POLL_S)

    async def _gossip(self) -> None:
        while True:
            await asyncio.sleep(_GOSSIP_EVERY_S * (0.5 + random.random()))
            try:
                await self.gossip()
            except RetryLater as error:
                log.warning("what others know could not be noted", extra={"action": "control", "error": str(error)})

    async def _beat(self) -> None:
        while self._presence is not None:
            if self.placement is not None:
                await self._presence.beat()
            await asyncio.sleep(0.5)


class PlacementStatus(msgspec.Struct, frozen=True):
    """What `/regions` shows of one seat."""

    server: str | None
    epoch: int
    open_claim: bool


def placement_status(placement: Placement) -> dict[str, PlacementStatus]:
    """The placement for people."""
    return {name: PlacementStatus(seat.server, seat.epoch, seat.open_claim) for name, seat in placement.seats.items()}
