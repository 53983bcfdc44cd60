"""A person's row in the registry, and its shape as a DynamoDB item. Values in, values out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notify_streams.records.user_records import Signup

Item = dict[str, dict[str, Any]]

KEY: Final = "user_id"
#: Fixed width, always UTC: such texts sort as their instants do, so a condition in DynamoDB can compare them.
_INSTANT: Final = "%Y-%m-%dT%H:%M:%S.%fZ"


class User(msgspec.Struct, frozen=True, gc=False):
    """One person: where they are at home since when. `version` grows with each move and orders everything said of them."""

    user_id: str
    region: str
    version: int
    updated_at: datetime
    locale: str = "en"
    time_zone: str = "UTC"
    #: Serves this person while `region` is away; None: the one that the region's settings name.
    standby: str | None = None
    #: The home before the last move, None if there was none.
    previous: str | None = None


def from_signup(signup: Signup, previous: str | None = None) -> User:
    """The row that a sign-up or a move asks for."""
    return User(
        signup.user_id,
        signup.region,
        signup.version,
        signup.updated_at.astimezone(UTC),
        signup.locale,
        signup.time_zone,
        signup.standby,
        previous,
    )


def to_item(user: User) -> Item:
    """The row as DynamoDB stores it; what is None is left out."""
    item: Item = {
        KEY: {"S": user.user_id},
        "region": {"S": user.region},
        "version": {"N": str(user.version)},
        "updated_at": {"S": format_time(user.updated_at)},
        "locale": {"S": user.locale},
        "time_zone": {"S": user.time_zone},
    }
    for name, value in (("standby", user.standby), ("previous", user.previous)):
        if value is not None:
            item[name] = {"S": value}
    return item


def from_item(item: Mapping[str, Mapping[str, Any]]) -> User:
    """The row of an item that `to_item` made, or that another release of this code made: unknown attributes are passed over."""

    def text(name: str) -> str | None:
        return item[name]["S"] if name in item else None

    return User(
        item[KEY]["S"],
        item["region"]["S"],
        int(item["version"]["N"]),
        datetime.strptime(item["updated_at"]["S"], _INSTANT).replace(tzinfo=UTC),
        text("locale") or "en",
        text("time_zone") or "UTC",
        text("standby"),
        text("previous"),
    )


def format_time(moment: datetime) -> str:
    """`moment` as the registry writes it: UTC, microseconds, sortable as text."""
    return moment.astimezone(UTC).strftime(_INSTANT)


def supersedes(one: User, other: User) -> bool:
    """Whether `one` wins over `other` wherever both arrive, in whatever order: version, then time, then the region's name.

    A strict total order on what differs in any of the three, so that replicas which saw both agree.
    """
    return (one.version, one.updated_at, one.region) > (other.version, other.updated_at, other.region)
