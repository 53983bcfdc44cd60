"""Every Kafka topic of a region, as a list of values; `ops.topics` makes the brokers agree with it.

All topics have the same partition count and the key ``user_id``, so a partition number is the user's *bucket* everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from notify_streams.roles import CHANNEL_ROLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notify_streams.settings import Settings

FORWARDED: Final = "triggers.forwarded"
PREFERENCE_UPDATES: Final = "preference_updates"
USER_CONTACTS: Final = "user_contacts"
USER_SIGNUPS: Final = "user_signups"
USER_LOCATIONS: Final = "user_locations"
RECEIPTS: Final = "receipts"
DEAD_LETTERS: Final = "dead_letters"
#: Who serves whose people (`regions.control`). One partition: a log has one order. Kept for ever: a claim that was removed could be made again.
REGION_CONTROL: Final = "region_control"
REGION_CONTROL_CONFIG: Final = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}

_WEEK_MS: Final = 7 * 24 * 3600 * 1000
#: A dead letter carries the original bytes and its own headers, so its topic takes more than any other.
HEADROOM_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it must be: its name, partition count and the broker's settings for it."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)


def trigger_topics(settings: Settings) -> tuple[str, ...]:
    """The topics that the router roles read: one for each upstream system, and what other regions sent."""
    return (*(f"triggers.{system}" for system in settings.trigger_systems), FORWARDED)


def forward_topic(region: str) -> str:
    """Where what `region` must get waits until that region has it."""
    return f"forward.{region}"


def edge_topic(pop: str) -> str:
    """Where what a point of presence must get waits until it has it: compacted, so its whole content can be pushed again."""
    return f"edge.{pop}"


def all_topics(settings: Settings) -> tuple[TopicSpec, ...]:
    """Every topic that this region's Kafka must have before a worker starts, changelogs of Faust tables excepted."""
    kept = {"retention.ms": str(_WEEK_MS)}
    limit = settings.max_record_bytes
    wide = kept | {"max.message.bytes": str(limit + HEADROOM_BYTES)}
    others = tuple(forward_topic(region) for region in settings.regions if region != settings.region)
    specs = {name: kept | {"max.message.bytes": str(limit)} for name in trigger_topics(settings)}
    specs[FORWARDED] = wide
    specs |= dict.fromkeys((PREFERENCE_UPDATES, USER_CONTACTS, USER_SIGNUPS, RECEIPTS), kept)
    specs |= dict.fromkeys((*CHANNEL_ROLES, *others, DEAD_LETTERS), wide)
    specs |= {
        name: {"cleanup.policy": "compact"}
        for name in (USER_LOCATIONS, *(edge_topic(pop.name) for pop in settings.edge))
    }
    control = TopicSpec(REGION_CONTROL, 1, REGION_CONTROL_CONFIG)
    return (*(TopicSpec(name, settings.partitions, config) for name, config in specs.items()), control)
