"""The Kafka topics of a region with their settings; `admin.topics` creates them.

All but `region_control` have the same partition count and the key ``user_id``, so the partition number is the user's bucket.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
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
#: Requests to erase a person.
USER_ERASURES: Final = "user_erasures"
#: Rows of the tables `preferences` and `contacts` (compacted). Only this system writes them.
PREFERENCE_ROWS: Final = "preference_rows"
CONTACT_ROWS: Final = "contact_rows"
DEAD_LETTERS: Final = "dead_letters"
#: The control log (`regions.failover`). One partition, because its records need one order. No retention limit: a claim that was
#: deleted could be made again.
REGION_CONTROL: Final = "region_control"
REGION_CONTROL_CONFIG: Final = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}

_HOUR_MS: Final = 3600 * 1000
_DAY_MS: Final = 24 * _HOUR_MS
#: When a compacted topic has lost what a record without a value deletes, and that record itself. A table that is rebuilt reads the whole
#: topic, so none misses it.
COMPACTED_MS: Final = 2 * _DAY_MS + _HOUR_MS
#: Compaction at the latest after a day, also of the segment that is written to.
_COMPACTED: Final = {
    "cleanup.policy": "compact",
    "max.compaction.lag.ms": str(_DAY_MS),
    "delete.retention.ms": str(_DAY_MS),
    "segment.ms": str(_DAY_MS),
}
#: A record about a user is dated no later than its arrival (`records.user_records`), of which only the broker's clock can tell.
_STAMPED_ON_ARRIVAL: Final = {"message.timestamp.type": "LogAppendTime"}
#: For the headers that are added to a record that is forwarded, repartitioned or dead-lettered.
HEADROOM_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """The required state of a topic; `config` has the broker's names."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)


def deleted_after(settings: Settings) -> timedelta:
    """When Kafka has deleted what a topic with a retention limit had: the limit, a segment that was written to until then, and an hour in
    which the broker finds it."""
    return settings.retention.topics + settings.retention.segment + timedelta(milliseconds=_HOUR_MS)


def trigger_topics(settings: Settings) -> tuple[str, ...]:
    """The topics that the router roles read: one for each upstream system, and `triggers.forwarded`."""
    return (*(f"triggers.{system}" for system in settings.trigger_systems), FORWARDED)


def system_of(topic: str) -> str | None:
    """The upstream system that owns a topic of triggers; None for `triggers.forwarded`."""
    return None if topic == FORWARDED else topic.removeprefix("triggers.")


def forward_topic(region: str) -> str:
    """The topic for records that must be sent to `region`."""
    return f"forward.{region}"


def event_topic(system: str) -> str:
    """The topic on which an upstream system reads what became of its notifications."""
    return f"notification_events.{system}"


def edge_topic(pop: str) -> str:
    """The topic for locations that must be pushed to a point of presence. Compacted, so that all can be pushed again."""
    return f"edge.{pop}"


def all_topics(settings: Settings) -> tuple[TopicSpec, ...]:
    """All topics that must exist before a worker starts."""
    # By the broker's clock: with the senders' own times, a record that says it is old would be deleted at once.
    retention = {
        "retention.ms": _in_ms(settings.retention.topics),
        "segment.ms": _in_ms(settings.retention.segment),
        "message.timestamp.type": "LogAppendTime",
    }
    limit = settings.max_record_bytes
    wide = retention | {"max.message.bytes": str(limit + HEADROOM_BYTES)}
    others = tuple(forward_topic(region) for region in settings.regions if region != settings.region)
    specs = {name: retention | {"max.message.bytes": str(limit)} for name in trigger_topics(settings)}
    specs[FORWARDED] = wide
    specs |= dict.fromkeys(
        (PREFERENCE_UPDATES, USER_CONTACTS, USER_SIGNUPS, USER_ERASURES, RECEIPTS), retention | _STAMPED_ON_ARRIVAL
    )
    specs |= dict.fromkeys((*CHANNEL_ROLES, *others, DEAD_LETTERS), wide)
    specs |= dict.fromkeys(map(event_topic, sorted(settings.event_systems())), retention)
    specs |= dict.fromkeys(
        (USER_LOCATIONS, PREFERENCE_ROWS, CONTACT_ROWS, *(edge_topic(pop.name) for pop in settings.edge)), _COMPACTED
    )
    control = TopicSpec(REGION_CONTROL, 1, REGION_CONTROL_CONFIG)
    return (*(TopicSpec(name, settings.partitions, config) for name, config in specs.items()), control)


def _in_ms(time: timedelta) -> str:
    return str(round(time / timedelta(milliseconds=1)))
