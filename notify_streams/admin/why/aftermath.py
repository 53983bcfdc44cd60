"""What came after a trigger became a dead letter: a sign-up, a replay."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from notify_streams.admin.regions_asked import AWAY, why_away
from notify_streams.errors import SettingsError
from notify_streams.records.outcomes import DeadReason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from notify_streams.admin.why.story import Notification, OtherOutcome
    from notify_streams.registry.user import User


async def with_what_came_later(
    dead: Sequence[OtherOutcome],
    notifications: Sequence[Notification],
    find_user: Callable[[str], Awaitable[User | None]] | None,
    timeout_s: float,
) -> list[OtherOutcome]:
    """The dead letters with `later`. The registry is asked about users that were unknown.

    Args:
        notifications: all that were found by the same question.
    """
    unknown = {one.user_id for one in dead if one.reason == DeadReason.UNKNOWN_USER and one.user_id}
    signups: dict[str, str] = {}
    if find_user is not None:
        users = sorted(unknown)
        found = await asyncio.gather(*(_signup(find_user, user_id, timeout_s) for user_id in users))
        signups = dict(zip(users, found, strict=True))
    return [
        msgspec.structs.replace(one, later=[*_signed_up(one, signups), *_notified(one, notifications)]) for one in dead
    ]


async def _signup(find_user: Callable[[str], Awaitable[User | None]], user_id: str, timeout_s: float) -> str:
    """A sentence."""
    try:
        async with asyncio.timeout(timeout_s):
            user = await find_user(user_id)
    except TimeoutError:
        return "whether the user has signed up since is not known: the registry does not answer"
    except (SettingsError, *AWAY) as error:
        return f"whether the user has signed up since is not known: {why_away(error)}"
    if user is None:
        return "the user has not signed up until now"
    what = f"the user is in the registry: home region {user.region}, version {user.version}"
    return f"{what}, written at {user.updated_at:%Y-%m-%dT%H:%M:%SZ}" if user.version else what


def _signed_up(one: OtherOutcome, signups: dict[str, str]) -> list[str]:
    return [signups[one.user_id]] if one.reason == DeadReason.UNKNOWN_USER and one.user_id in signups else []


def _notified(one: OtherOutcome, notifications: Sequence[Notification]) -> list[str]:
    """The notifications of the same trigger that were decided later."""
    return [
        ("replayed" if found.entry.replayed_from else "sent again")
        + f" and notified in {found.region} at {found.decided_at:%Y-%m-%dT%H:%M:%SZ}: {found.notification_id}"
        for found in notifications
        if found.trigger_id == one.trigger_id and found.user_id == one.user_id and found.decided_at >= one.at
    ]
