"""Compares the registry with a region's locations and repairs differences.

Runs in every region periodically, and rebuilds a lost `user_locations` (every row is then missing and repaired). Each region repairs
its own topic from its own replica of the registry; only the home region writes the registry's row and informs the other regions.
Repeating it, or running it in several workers, is harmless: readers keep the newest record.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams.records.user_records import Signup, encode_record
from notify_streams.registry.signups import location_outputs
from notify_streams.topics import USER_SIGNUPS

if TYPE_CHECKING:
    from notify_streams.records.batch import OutboxRecord
    from notify_streams.regions.locations import Location
    from notify_streams.registry.user import User
    from notify_streams.settings import Settings

#: How long after a move the previous home checks for a trigger's id: longer than upstream systems repeat a trigger.
SETTLES_AFTER: Final = timedelta(hours=24)


class Repair(msgspec.Struct, frozen=True, gc=False):
    """The repair of one user's location."""

    user: User
    #: Write the row's location to this region's topic.
    here: bool = False
    #: Write it to every region (home region only): the move has settled.
    everywhere: bool = False
    #: The previous home need not check for duplicates any more.
    settled: bool = False
    #: A sign-up to repeat in the home region: the registry lost it, or two regions wrote the same version.
    signup: Signup | None = None


def repair(user: User, location: Location | None, here: str, now: datetime) -> Repair | None:
    """The repair for one registry row; None if the location agrees with it.

    Args:
        location: the location that this region holds, None if it has none.
    """
    settled = user.previous is None or user.updated_at + SETTLES_AFTER <= now
    if location is None or location.version < user.version:
        return Repair(user, here=True, settled=settled)
    if location.version > user.version:
        # The registry is behind: it will catch up, or a later write with a lower version replaced the row. Only the home can tell.
        if location.region != here:
            return None
        return Repair(user, signup=_signup(user, location.region, location.version, now))
    if location.region != user.region:
        # Two regions wrote one version. The registry kept one of them, which gets a version of its own.
        return Repair(user, signup=_signup(user, here, user.version + 1, now)) if user.region == here else None
    if settled and location.previous is not None and user.region == here:
        return Repair(user, everywhere=True, settled=True)
    return None


def _signup(user: User, region: str, version: int, now: datetime) -> Signup:
    return Signup(user.user_id, region, now, version, user.locale, user.time_zone, user.standby)


def repair_outputs(one: Repair, partition: int, settings: Settings) -> list[OutboxRecord]:
    """The records that a repair writes, all in the user's bucket: to this region's topic, to every region, or a sign-up."""
    if one.signup is not None:
        return [(USER_SIGNUPS, partition, one.user.user_id.encode(), encode_record(one.signup), ())]
    outputs = location_outputs(one.user, partition, settings, settled=one.settled)
    return outputs if one.everywhere else outputs[:1]
