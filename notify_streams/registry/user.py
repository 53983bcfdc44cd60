"""A user's row in the registry, and its encoding as a DynamoDB item."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notify_streams.records.user_records import Signup

Item = dict[str, dict[str, Any]]

KEY: Final = "user_id"


class User(msgspec.Struct, frozen=True, gc=False):
    """A user and their home region. `version` grows with each move; the larger one wins."""

    user_id: str
    region: str
    version: int
    updated_at: datetime
    locale: str = "en"
    time_zone: str = "UTC"
    #: Serves this user while `region` is away; None: the standby that the region's settings name.
    standby: str | None = None
    #: The home region before the last move; None if the user never moved.
    previous: str | None = None


def from_signup(signup: Signup, previous: str | None = None) -> User:
    """The row to write for a sign-up or a move."""
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
    """The row as a DynamoDB item; fields that are None are left out."""
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
    """The row of an item; attributes that another release may have added are ignored.

    Raises:
        KeyError, ValueError: it is no row of a user.
    """

    def text(name: str) -> str | None:
        return item[name]["S"] if name in item else None

    return User(
        item[KEY]["S"],
        item["region"]["S"],
        int(item["version"]["N"]),
        _read_time(item["updated_at"]["S"]),
        text("locale") or "en",
        text("time_zone") or "UTC",
        text("standby"),
        text("previous"),
    )


def format_time(moment: datetime) -> str:
    """`moment` as the registry stores it: UTC, microseconds. A fixed width, so a condition in DynamoDB can compare the texts."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _read_time(text: str) -> datetime:
    """The inverse of `format_time`. An earlier release stored years before 1000 in a form that no reader takes; they count as 1970."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)


def is_same(one: User, other: User) -> bool:
    """Whether both rows are of the same sign-up."""
    return (one.region, one.version, one.updated_at) == (other.region, other.version, other.updated_at)


def supersedes(one: User, other: User) -> bool:
    """Whether `one` replaces `other`, in whatever order they arrive: by version, then time, then the region's name.

    A strict total order on these three, so that all replicas agree.
    """
    return (one.version, one.updated_at, one.region) > (other.version, other.updated_at, other.region)
