"""What a region missed: the registry's rows against the locations that this region holds. Values in, repairs out.

Runs in every region now and then, and as a rebuild after a lost `user_locations` (then no row is held, and every one is repaired).
Each region repairs its own topic from its own replica of the registry; only the home region writes the registry's row and tells
the others. Running it twice, or in several workers at once, does no harm: readers keep the newest record.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams import topics
from notify_streams.records.user_records import Signup
from notify_streams.registry.signups import location_outputs

if TYPE_CHECKING:
    from notify_streams.records.batch import OutboxRecord
    from notify_streams.regions.locations import Location
    from notify_streams.registry.user import User
    from notify_streams.settings import Settings

#: How long after a move the old home is asked whether it knows a trigger's id: longer than upstream systems repeat a trigger.
SETTLES_AFTER: Final = timedelta(hours=24)


class Repair(msgspec.Struct, frozen=True, gc=False):
    """What is wrong with one person, and what puts it right."""

    user: User
    #: Write the row's location to this region's topic.
    here: bool = False
    #: Tell every region again (home region only): the move has settled.
    everywhere: bool = False
    #: The old home need not look any more.
    settled: bool = False
    #: A sign-up to be done again in the home region: the registry lost it, or two regions wrote the same version.
    signup: Signup | None = None


def repair(user: User, held: Location | None, here: str, now: datetime) -> Repair | None:
    """What one registry row asks for; None if the region's location agrees.

    Args:
        held: the location that this region holds, None if it has none.
    """
    settled = user.previous is None or user.updated_at + SETTLES_AFTER <= now
    if held is None or held.version < user.version:
        return Repair(user, here=True, settled=settled)
    if held.version > user.version:
        # The registry is behind: it will catch up, or its write was lost to a later one with a lower version. Only the home knows.
        return Repair(user, signup=_again(user, held.region, held.version, now)) if held.region == here else None
    if held.region != user.region:
        # Two regions wrote one version. The registry has chosen; its choice gets a version of its own.
        return Repair(user, signup=_again(user, here, user.version + 1, now)) if user.region == here else None
    if settled and held.previous is not None and user.region == here:
        return Repair(user, everywhere=True, settled=True)
    return None


def _again(user: User, region: str, version: int, now: datetime) -> Signup:
    return Signup(
        user_id=user.user_id,
        region=region,
        updated_at=now,
        version=version,
        locale=user.locale,
        time_zone=user.time_zone,
        standby=user.standby,
    )


def repair_outputs(one: Repair, partition: int, settings: Settings) -> list[OutboxRecord]:
    """The records that a repair writes, all in the person's bucket: to this region's topic, to every region, or a sign-up again."""
    key = one.user.user_id.encode()
    if one.signup is not None:
        return [(topics.USER_SIGNUPS, partition, key, msgspec.json.encode(one.signup), ())]
    outputs = location_outputs(one.user, partition, settings, settled=one.settled)
    return outputs if one.everywhere else outputs[:1]
