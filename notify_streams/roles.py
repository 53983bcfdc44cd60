"""The roles of a region: one Faust application id each, ``notify-<region>-<role>``."""

from __future__ import annotations

from typing import Final, Literal, get_args

Channel = Literal["push", "sms", "email"]
Lane = Literal["critical", "standard"]

CHANNELS: Final[tuple[Channel, ...]] = get_args(Channel)
LANES: Final[tuple[Lane, ...]] = get_args(Lane)

#: Roles that work a channel topic; the role's name is the topic's name.
CHANNEL_ROLES: Final = (*CHANNELS, *(f"cric_{channel}" for channel in CHANNELS))
ROLES: Final = (*LANES, *CHANNEL_ROLES, "registry", "forward", "receipts")


def lane_of(role: str) -> Lane:
    """The lane whose time a role works in; every role that is not critical is standard."""
    return "critical" if role.startswith("cri") else "standard"


def app_id(region: str, role: str) -> str:
    """The Faust application id, which is also the Kafka consumer group."""
    return f"notify-{region}-{role}"


def channel_topic(channel: Channel, critical: bool) -> str:
    """The topic that a delivery for `channel` is handed to."""
    return f"cric_{channel}" if critical else channel


def channel_of(role: str) -> Channel:
    """The channel that a channel role works: ``cric_push`` -> ``push``."""
    name = role.removeprefix("cric_")
    for channel in CHANNELS:
        if channel == name:
            return channel
    raise ValueError(f"{role!r} is not a channel role; those are {', '.join(CHANNEL_ROLES)}")
