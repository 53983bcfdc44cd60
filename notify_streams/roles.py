"""Channels, lanes and the roles of a worker."""

from __future__ import annotations

from typing import Final, Literal, get_args

Channel = Literal["push", "sms", "email"]
Lane = Literal["critical", "standard"]

CHANNELS: Final[tuple[Channel, ...]] = get_args(Channel)
LANES: Final[tuple[Lane, ...]] = get_args(Lane)

#: Roles that deliver the messages of one channel topic; role and topic have the same name.
CHANNEL_ROLES: Final = (*CHANNELS, *(f"cric_{channel}" for channel in CHANNELS))
#: The role that serves the page and reads no topic.
VIEWS: Final = "views"
#: The role that the internet reaches: providers' webhooks, and the links in messages. It reads no topic.
WEBHOOKS: Final = "webhooks"
#: A role's place here is that of its port (`web_port_base`): new ones go to the end.
ROLES: Final = (*LANES, *CHANNEL_ROLES, "registry", "forward", "receipts", VIEWS, WEBHOOKS)
_ROUTER: Final = ("tables.locations", "tables.contacts", "tables.preferences", "agents.route")
#: The table and agent modules that each role imports.
MODULES: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(LANES, _ROUTER),
    **dict.fromkeys(CHANNEL_ROLES, ("agents.deliver",)),
    "registry": (
        "tables.locations",
        "agents.apply_preferences",
        "agents.apply_contacts",
        "agents.sign_up",
        "agents.reconcile",
        "agents.erase",
        "agents.push_to_edge",
    ),
    "forward": ("agents.forward",),
    "receipts": ("agents.apply_receipts",),
    VIEWS: ("tables.locations",),
    WEBHOOKS: ("tables.locations",),
}
#: Roles that read nothing before they know the placement. They read the control log, and append to it.
PLACEMENT_ROLES: Final = frozenset((*LANES, "registry", "forward", VIEWS, WEBHOOKS))


def lane_of(role: str) -> Lane:
    """The lane whose latency goal a role has; each role that is not critical is standard."""
    return "critical" if role.startswith("cri") else "standard"


def app_id(region: str, role: str) -> str:
    """The Faust application id of a role, which is also its consumer group."""
    return f"notify-{region}-{role}"


def channel_topic(channel: Channel, critical: bool) -> str:
    """The topic for channel messages of `channel`."""
    return f"cric_{channel}" if critical else channel


def channel_named(name: str) -> Channel | None:
    """The channel of this name; None if there is none."""
    return next((channel for channel in CHANNELS if channel == name), None)


def channel_of(role: str) -> Channel:
    """The channel of a channel role: ``cric_push`` -> ``push``."""
    if (channel := channel_named(role.removeprefix("cric_"))) is not None:
        return channel
    raise ValueError(f"{role!r} is not a channel role; those are {', '.join(CHANNEL_ROLES)}")
