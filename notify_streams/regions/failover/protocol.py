"""Who serves a region's people: the records of `region_control`, and what one region's log of them amounts to. Pure.

Every region keeps its own log of the same records: one partition, nothing ever removed. The people of region eu are a *seat*; an
*epoch* counts the changes of who serves it. A change is made by one command (`failover`), told from others by its token:

1. `claim` the next epoch in every region that answers, a majority at least. In each log the first claim of an epoch holds, and
   closes all lower ones; so no two commands can both hold an epoch, nor an older one go on behind a newer one's back.
2. `release`, in the log of whoever may be serving: it stops, waits until nothing it has begun can be committed any more, and says
   `released`. One that does not answer is the operator's word: it is gone, and when it returns it learns before it does anything.
3. `serve`: from this record on, and not before, the new server serves.

Between 2 and 3 nobody serves the seat; its records wait. A region that starts treats any claim that it finds open as a release.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Step = Literal["claim", "release", "released", "serve"]


class ControlRecord(msgspec.Struct, frozen=True, gc=False):
    """One record; its key is `seat`."""

    #: The region whose people this is about.
    seat: str
    #: Counts the changes of the seat; larger wins.
    epoch: int
    step: Step
    #: Who shall serve; with `released`: who has stopped.
    server: str
    #: The command that wrote it.
    token: str
    #: For people who read the log; decides nothing.
    at: datetime


class HomeRegion(msgspec.Struct, frozen=True, gc=False):
    """One seat as one log has it."""

    #: Who serves, by this log; None between `release` and `serve`.
    server: str | None
    #: The epoch of that.
    epoch: int = 0
    #: Where the seat goes, or is.
    heading: str = ""
    #: The highest claim: epoch, token and who shall serve.
    claimed: int = 0
    claim_token: str = ""
    claim_for: str = ""
    released: frozenset[str] = frozenset()

    @property
    def open_claim(self) -> bool:
        """Whether a change was begun that this log has not seen the end of."""
        return self.claimed > self.epoch or self.server is None


HomeRegions = dict[str, HomeRegion]


def initial_homes(regions: Iterable[str]) -> HomeRegions:
    """Before any change everyone is served at home."""
    return {region: HomeRegion(region, heading=region) for region in regions}


def apply_record(seat: HomeRegion, record: ControlRecord) -> HomeRegion:
    """The seat when `record` comes next in the log; the same seat if the record comes too late to count."""
    holds = (record.epoch, record.token) == (seat.claimed, seat.claim_token)
    if record.step == "claim":
        if record.epoch <= max(seat.claimed, seat.epoch):
            return seat
        return msgspec.structs.replace(
            seat, claimed=record.epoch, claim_token=record.token, claim_for=record.server, released=frozenset()
        )
    if record.step == "release":
        if not holds or record.epoch <= seat.epoch:
            return seat
        return msgspec.structs.replace(seat, server=None, epoch=record.epoch, heading=record.server)
    if record.step == "released":
        return msgspec.structs.replace(seat, released=seat.released | {record.server}) if holds else seat
    settled = seat.server is not None and record.epoch <= seat.epoch
    if settled or record.epoch < seat.claimed or (record.epoch == seat.claimed and not holds):
        return seat
    return HomeRegion(
        record.server, record.epoch, record.server, record.epoch, record.token, record.server, seat.released
    )


def fold(seats: HomeRegions, records: Iterable[ControlRecord]) -> HomeRegions:
    """The seats after more of a log. Seats of regions that the settings do not name are left out."""
    changed = dict(seats)
    for record in records:
        if record.seat in changed:
            changed[record.seat] = apply_record(changed[record.seat], record)
    return changed


def majority(regions: Sequence[str]) -> int:
    """How many regions a command must reach."""
    return len(regions) // 2 + 1


def enough_to_learn(regions: Sequence[str]) -> int:
    """How many logs, its own among them, a region must have read before it may serve: one of any majority is then among them."""
    return len(regions) - majority(regions) + 1


def missing(own: HomeRegions, other: Iterable[ControlRecord]) -> list[ControlRecord]:
    """The records of another region's log that change what this region's log amounts to, in order: `serve` alone.

    Claims and releases are told to a log by the command itself; a finished change may be told by anyone.
    """
    found = []
    seats = dict(own)
    for record in other:
        if record.step == "serve" and record.seat in seats:
            changed = apply_record(seats[record.seat], record)
            if changed != seats[record.seat]:
                seats[record.seat] = changed
                found.append(record)
    return found


def to_yield(seats: HomeRegions, others: Iterable[Iterable[ControlRecord]], now: datetime) -> list[ControlRecord]:
    """What a region that starts must write into its log: finished changes, and a release for every change that is open anywhere."""
    logs = [list(log) for log in others]
    written: list[ControlRecord] = []
    for log in logs:
        found = missing(seats, log)
        seats = fold(seats, found)
        written += found
    claims = [one for log in logs for one in log if one.step == "claim"]
    for claim in sorted(claims, key=lambda one: (one.epoch, one.token)):
        seat = seats.get(claim.seat)
        if seat is not None and claim.epoch > max(seat.epoch, seat.claimed):
            written.append(claim)
            seats = fold(seats, [claim])
    written += [
        ControlRecord(name, seat.claimed, "release", seat.claim_for, seat.claim_token, now)
        for name, seat in seats.items()
        if seat.claimed > seat.epoch
    ]
    return written


def to_answer(seats: HomeRegions, here: str) -> list[HomeRegion]:
    """The seats whose release the region `here` has read and not answered: stop, then say `released`."""
    return [seat for seat in seats.values() if seat.server is None and here not in seat.released]
