"""Which principal may do what with which topic and group of a region's Kafka.

One principal for each role, each upstream system, the operator, `restore apply`, `topics grow`, and the role `forward` and the operator of
each other region. Read and Write are all that an idempotent producer and a consumer need on brokers of 3.0 or later; no client needs a right
on the cluster.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from notify_streams.errors import Refused
from notify_streams.regions.forwarding.headers import TARGET_TOPICS
from notify_streams.roles import (
    CHANNEL_ROLES,
    CHANNELS,
    LANES,
    MODULES,
    PLACEMENT_ROLES,
    ROLES,
    VIEWS,
    WEBHOOKS,
    app_id,
    channel_topic,
)
from notify_streams.topics import (
    CONTACT_ROWS,
    DEAD_LETTERS,
    FORWARDED,
    PREFERENCE_ROWS,
    PREFERENCE_UPDATES,
    RECEIPTS,
    REGION_CONTROL,
    USER_CONTACTS,
    USER_ERASURES,
    USER_LOCATIONS,
    USER_SIGNUPS,
    all_topics,
    edge_topic,
    event_topic,
    forward_topic,
    trigger_topics,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from notify_streams.settings import Settings

Operation = Literal["Read", "Write", "Create", "Alter", "AlterConfigs", "Describe", "DescribeConfigs"]
_TABLES: Final = {
    "tables.locations": USER_LOCATIONS,
    "tables.contacts": CONTACT_ROWS,
    "tables.preferences": PREFERENCE_ROWS,
}
_READ: Final[tuple[Operation, ...]] = ("Read", "Describe")
_WRITE: Final[tuple[Operation, ...]] = ("Write", "Describe")
_READ_WRITE: Final[tuple[Operation, ...]] = ("Read", "Write", "Describe")
#: `topics ensure` and `topics check`, what repairs what that finds, and the verbs that read.
_OPERATOR: Final[tuple[Operation, ...]] = ("Read", "Create", "Alter", "AlterConfigs", "Describe", "DescribeConfigs")


@dataclass(frozen=True, slots=True)
class Access:
    """What a principal may do with one topic, or with one group."""

    resource: Literal["topic", "group"]
    name: str
    operations: tuple[Operation, ...]
    #: Whether `name` is the beginning of the names that are meant.
    prefixed: bool = False


@dataclass(frozen=True, slots=True)
class Principal:
    """A client of Kafka; `name` is as Kafka's authorizer knows it: ``User:notify-registry``."""

    name: str
    accesses: tuple[Access, ...]

    def topics(self, operation: Operation) -> frozenset[str]:
        """The topics on which it may do this."""
        return frozenset(one.name for one in self.accesses if one.resource == "topic" and operation in one.operations)


def principals(settings: Settings, prefix: str) -> list[Principal]:
    """All principals of the region's Kafka.

    Raises:
        Refused: two would have the same name, or the groups of an upstream system include those of others.
    """
    _check_groups(settings)
    accesses = {role: role_accesses(settings, role) for role in ROLES}
    accesses |= {f"system-{system}": _of_system(settings, system) for system in settings.trigger_systems}
    others = [region for region in settings.regions if region != settings.region]
    remote = (*_topics(TARGET_TOPICS, _WRITE), *_topics([REGION_CONTROL], _READ))
    accesses |= {f"forward-from-{region}": remote for region in others}
    # `failover` writes the control log of every region, and asks whether routers run there.
    routers = (Access("group", app_id(settings.region, lane), ("Describe",)) for lane in LANES)
    failover = (*_topics([REGION_CONTROL], _READ_WRITE), *routers)
    # `restore apply` reads in other regions what its own has lost.
    lost = _topics([PREFERENCE_UPDATES, USER_ERASURES], _READ)
    accesses |= {f"operator-from-{region}": (*failover, *lost) for region in others}
    accesses["operator"] = _of_operator(settings)
    accesses["restore"] = _of_restore(settings)
    accesses["grow"] = _of_growth(settings)
    names = {given: principal_name(prefix, given) for given in accesses}
    for name, count in Counter(names.values()).items():
        if count > 1:
            same = " and ".join(sorted(given for given, made in names.items() if made == name))
            raise Refused(f"{same} would be one principal, {name}: rename one of them")
    return [Principal(names[given], found) for given, found in accesses.items()]


def principal_name(prefix: str, client: str) -> str:
    """All but letters and digits becomes a hyphen: ``cric_push`` is ``User:notify-cric-push``. Kubernetes allows no other names."""
    return prefix + re.sub(r"[^a-z0-9]", "-", client.lower())


def agent_topics(settings: Settings, role: str) -> frozenset[str]:
    """The topics that the role's consumer group reads: those of its agents (`app.MODULES`)."""
    read: dict[str, Collection[str]] = {
        "agents.route": trigger_topics(settings),
        "agents.deliver": [role],
        "agents.apply_preferences": [PREFERENCE_UPDATES],
        "agents.apply_contacts": [USER_CONTACTS],
        "agents.sign_up": [USER_SIGNUPS],
        "agents.reconcile": [],
        "agents.erase": [USER_ERASURES],
        "agents.push_to_edge": _edges(settings),
        "agents.forward": [forward_topic(region) for region in settings.remote_kafka],
        "agents.apply_receipts": [RECEIPTS],
    }
    return frozenset(topic for module in MODULES[role] if module not in _TABLES for topic in read[module])


def role_topics(settings: Settings, role: str) -> frozenset[str]:
    """The topics that a role reads and writes."""
    return frozenset(one.name for one in role_accesses(settings, role) if one.resource == "topic")


def table_topics(role: str) -> frozenset[str]:
    """The topics that the role's tables hold."""
    return frozenset(_TABLES[module] for module in MODULES[role] if module in _TABLES)


def role_accesses(settings: Settings, role: str) -> tuple[Access, ...]:
    """What a worker of `role` must be allowed to do."""
    reads = agent_topics(settings, role) | table_topics(role)
    writes = set(_outputs(settings, role))
    described: set[str] = set()
    groups = [Access("group", app_id(settings.region, role), _READ)]
    if role in PLACEMENT_ROLES:
        reads |= {REGION_CONTROL}
        writes.add(REGION_CONTROL)
    if role == "receipts":  # the messages of failed deliveries
        reads |= {*CHANNEL_ROLES}
    if role == VIEWS:  # `/dead-letters`, `/regions`, and the lag in `/region`
        reads |= {DEAD_LETTERS}
        described.update((*_forwards(settings), *trigger_topics(settings), *CHANNEL_ROLES))
        groups.append(Access("group", app_id(settings.region, "forward"), ("Describe",)))
    return (
        *_topics(reads - writes, _READ),
        *_topics(writes - reads, _WRITE),
        *_topics(reads & writes, _READ_WRITE),
        *_topics(described, ("Describe",)),
        *groups,
    )


def _outputs(settings: Settings, role: str) -> Iterable[str]:
    """The topics that a role writes, without the control log."""
    forwards, events = _forwards(settings), map(event_topic, settings.event_systems())
    if role in LANES:
        # A trigger in the wrong partition, or that waits, is written to its own topic again.
        messages = (channel_topic(channel, role == "critical") for channel in CHANNELS)
        return (*messages, *trigger_topics(settings), *forwards, *events, DEAD_LETTERS)
    if role in CHANNEL_ROLES:
        # Dead and refused addresses.
        return (*events, USER_CONTACTS, PREFERENCE_UPDATES, DEAD_LETTERS)
    if role == "registry":
        # A record in the wrong partition is written to its own topic again, and `agents.reconcile` repairs.
        own = (USER_SIGNUPS, USER_CONTACTS, USER_ERASURES, PREFERENCE_UPDATES)
        rows = (USER_LOCATIONS, CONTACT_ROWS, PREFERENCE_ROWS)
        return (*own, *rows, *forwards, *_edges(settings), DEAD_LETTERS)
    if role == "receipts":
        # After a failed receipt a trigger for the next channel.
        return (*_system_topics(settings), *events, DEAD_LETTERS)
    choices = (PREFERENCE_UPDATES, PREFERENCE_ROWS)
    return {VIEWS: choices, WEBHOOKS: (*choices, RECEIPTS, *forwards), "forward": ()}[role]


def _of_system(settings: Settings, system: str) -> tuple[Access, ...]:
    trigger = Access("topic", f"triggers.{system}", _WRITE)
    if system not in settings.event_systems():
        return (trigger,)
    return (
        trigger,
        Access("topic", event_topic(system), _READ),
        Access("group", _group_prefix(system), _READ, prefixed=True),
    )


def _of_operator(settings: Settings) -> tuple[Access, ...]:
    # `send`, `users`, `prefs`, `dead-letters replay`, `tables rebuild`, `failover`.
    written = {
        *trigger_topics(settings),
        *(USER_SIGNUPS, USER_CONTACTS, USER_ERASURES, PREFERENCE_UPDATES, RECEIPTS),
        *(CONTACT_ROWS, PREFERENCE_ROWS, REGION_CONTROL),
    }
    every = {spec.name for spec in all_topics(settings)}
    return (
        *_topics(every - written, _OPERATOR),
        *_topics(written, ("Write", *_OPERATOR)),
        *(Access("group", app_id(settings.region, role), ("Describe",)) for role in ROLES),
    )


def _of_restore(settings: Settings) -> tuple[Access, ...]:
    """Of `restore apply`: it publishes what was in every outbox, and moves positions back. To be used in a disaster only."""
    rewound = {*LANES, "registry", "receipts"}
    return (
        *_topics((spec.name for spec in all_topics(settings)), _READ_WRITE),
        *(
            Access("group", app_id(settings.region, role), _READ if role in rewound else ("Describe",))
            for role in ROLES
        ),
    )


def _of_growth(settings: Settings) -> tuple[Access, ...]:
    """Of `topics grow`: it adds partitions, moves rows, and publishes what was in every outbox. No worker runs meanwhile."""
    return (
        *_topics((spec.name for spec in all_topics(settings)), (*_READ_WRITE, "Alter")),
        *(Access("group", app_id(settings.region, role), ("Describe",)) for role in ROLES),
    )


def _topics(names: Iterable[str], operations: tuple[Operation, ...]) -> list[Access]:
    return [Access("topic", name, operations) for name in sorted(names)]


def _forwards(settings: Settings) -> list[str]:
    return [forward_topic(region) for region in settings.regions if region != settings.region]


def _edges(settings: Settings) -> list[str]:
    return [edge_topic(pop.name) for pop in settings.edge]


def _system_topics(settings: Settings) -> list[str]:
    return [topic for topic in trigger_topics(settings) if topic != FORWARDED]


def _group_prefix(system: str) -> str:
    return f"{system}."


def _check_groups(settings: Settings) -> None:
    prefixes = {system: _group_prefix(system) for system in sorted(settings.event_systems())}
    taken = [*prefixes.values(), *(app_id(settings.region, role) for role in ROLES)]
    for system, prefix in prefixes.items():
        for name in taken:
            if name != prefix and name.startswith(prefix):
                raise Refused(f"groups of the upstream system {system}, {prefix}…, include {name}: rename the system")
