"""The failover protocol: control records and the state that they add up to.

Each region keeps its own log of the same records: one partition, nothing is ever deleted. An *epoch* counts the changes of the
server of a home region. One command makes one change and identifies itself by a token:

1. `claim`: take the next epoch in every region that answers, at least a majority. In each log the first claim of an epoch wins and
   closes all lower epochs. So two commands cannot both hold an epoch, and an older command cannot continue after a newer one.
2. `release`: written to the log of each region that may be serving. That region stops, waits until no transaction that it has
   begun can commit any more, and writes `released`. A region that does not answer counts as stopped, by the operator's decision;
   when it returns it reads the logs before it serves.
3. `serve`: the new server serves from this record on, not before.

Between 2 and 3 no region serves the home region's users; their records wait. A region that starts treats any open claim as a release.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec

from notify_streams.records.user_records import Counter, Instant

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ControlStep = Literal["claim", "release", "released", "serve"]
_Name = Annotated[str, msgspec.Meta(max_length=128)]
#: More changes than a region can have missed. A larger step is an error of its writer, and would use up the epochs.
_MAX_EPOCH_STEP: Final = 1_000_000


class ControlRecord(msgspec.Struct, frozen=True, gc=False):
    """One record of a control log; its key is `home`."""

    #: The home region whose users change their server.
    home: _Name
    #: Counts the changes of this home region; the larger one wins.
    epoch: Counter
    step: ControlStep
    #: The region that is to serve; with `released`: the region that has stopped.
    server: _Name
    #: Identifies the command.
    token: _Name
    #: For operators; no decision depends on it.
    at: Instant


class HomeRegion(msgspec.Struct, frozen=True, gc=False):
    """Who serves one home region's users, according to one log."""

    #: The serving region; None between `release` and `serve`.
    server: str | None
    #: The epoch of `server`.
    epoch: int = 0
    #: The region that serves, or will serve when the change under way is finished.
    next_server: str = ""
    #: The highest claim: epoch, token and the region that is to serve.
    claimed: int = 0
    claim_token: str = ""
    claim_for: str = ""
    released: frozenset[str] = frozenset()

    @property
    def open_claim(self) -> bool:
        """Whether a change was begun and, according to this log, not finished."""
        return self.claimed > self.epoch or self.server is None


HomeRegions = dict[str, HomeRegion]


def initial_homes(regions: Iterable[str]) -> HomeRegions:
    """The state of an empty log: each region serves its own users."""
    return {region: HomeRegion(region, next_server=region) for region in regions}


def apply_record(home: HomeRegion, record: ControlRecord) -> HomeRegion:
    """The state after `record`; unchanged if a later claim or epoch makes the record void."""
    holds_claim = (record.epoch, record.token) == (home.claimed, home.claim_token)
    if record.step == "claim":
        if record.epoch <= max(home.claimed, home.epoch):
            return home
        return msgspec.structs.replace(
            home, claimed=record.epoch, claim_token=record.token, claim_for=record.server, released=frozenset()
        )
    if record.step == "release":
        if not holds_claim or record.epoch <= home.epoch:
            return home
        return msgspec.structs.replace(home, server=None, epoch=record.epoch, next_server=record.server)
    if record.step == "released":
        return msgspec.structs.replace(home, released=home.released | {record.server}) if holds_claim else home
    settled = home.server is not None and record.epoch <= home.epoch
    if settled or record.epoch < home.claimed or (record.epoch == home.claimed and not holds_claim):
        return home
    return HomeRegion(
        record.server, record.epoch, record.server, record.epoch, record.token, record.server, home.released
    )


def credible(homes: HomeRegions, records: Iterable[ControlRecord]) -> list[ControlRecord]:
    """The records that may be applied: their regions are in the settings, and their epoch is not impossibly far ahead."""
    after = dict(homes)
    found = []
    for record in records:
        home = after.get(record.home)
        if home is None or record.server not in after:
            continue
        if record.epoch <= max(home.epoch, home.claimed) + _MAX_EPOCH_STEP:
            after[record.home] = apply_record(home, record)
            found.append(record)
    return found


def claims_up_to(home: HomeRegion, epoch: int) -> list[int]:
    """The epochs to claim, in order, so that a log in which `home` lies far behind takes `epoch`."""
    return [*range(max(home.epoch, home.claimed) + _MAX_EPOCH_STEP, epoch, _MAX_EPOCH_STEP), epoch]


def fold(homes: HomeRegions, records: Iterable[ControlRecord]) -> HomeRegions:
    """The state after more records of a log. Records that are not `credible` are ignored."""
    changed = dict(homes)
    for record in credible(homes, records):
        changed[record.home] = apply_record(changed[record.home], record)
    return changed


def majority(regions: Sequence[str]) -> int:
    """How many regions a command must reach."""
    return len(regions) // 2 + 1


def required_logs(regions: Sequence[str]) -> int:
    """How many logs, including its own, a region must read before it may serve: enough to include one of any majority."""
    return len(regions) - majority(regions) + 1


def missing_serves(own: HomeRegions, other: Iterable[ControlRecord]) -> list[ControlRecord]:
    """The `serve` records of another region's log that change the state of this region's log, in order.

    Only the command itself may write claims and releases to a log; any region may copy a finished change.
    """
    found = []
    homes = dict(own)
    for record in other:
        if record.step == "serve" and (changed := fold(homes, [record])) != homes:
            homes = changed
            found.append(record)
    return found


def startup_records(
    homes: HomeRegions, others: Iterable[Iterable[ControlRecord]], now: datetime
) -> list[ControlRecord]:
    """What a starting region must append to its log: finished changes, and a release for each change that is open in any log."""
    logs = [list(log) for log in others]
    written: list[ControlRecord] = []
    for log in logs:
        found = missing_serves(homes, log)
        homes = fold(homes, found)
        written += found
    claims = [record for log in logs for record in log if record.step == "claim"]
    for claim in sorted(claims, key=lambda claim: (claim.epoch, claim.token)):
        if (changed := fold(homes, [claim])) != homes:
            written.append(claim)
            homes = changed
    written += [
        ControlRecord(name, home.claimed, "release", home.claim_for, home.claim_token, now)
        for name, home in homes.items()
        if home.claimed > home.epoch
    ]
    return written


def homes_to_release(homes: HomeRegions, here: str) -> HomeRegions:
    """The home regions whose `release` the region `here` has read and not confirmed with `released`."""
    return {name: home for name, home in homes.items() if home.server is None and here not in home.released}
