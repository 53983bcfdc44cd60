"""The plan of a region: workers, shards, brokers, network, money."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Final

from notify_streams.roles import CHANNELS, LANES, ROLES, lane_of
from notify_streams.topics import all_topics

if TYPE_CHECKING:
    from devtools.sizing.inputs import Inputs

GIB: Final = 2**30
_DAY_S: Final = 86_400
_HOURS_A_MONTH: Final = 730
_US: Final = 1e-6
#: A rollout adds a quarter (k8s/base/worker.yaml).
SURGE: Final = 0.25
#: Roles with a table of locations of all people, and no other.
_ALL_LOCATIONS: Final = ("registry", "views", "webhooks")
_LEAST: Final = 2
#: Contacts, choices, locations: a row in each for a person.
_TABLES: Final = 3
#: Disk, as a multiple of the rows: of a router, whose partitions move, and of a worker with all locations.
_ROUTER_DISK: Final = 3.0
_LOCATIONS_DISK: Final = 1.5
#: Of the critical lane one may be drained while another one is lost.
_LEAST_CRITICAL: Final = 3


@dataclass(frozen=True, slots=True)
class Role:
    """The workers of a role; memory and disk of each in bytes."""

    name: str
    #: CPU of all workers in a burst.
    cores: float
    workers: int
    memory: int
    #: 0: no tables.
    disk: int
    #: What decides the number.
    because: str


@dataclass(frozen=True, slots=True)
class Store:
    """MongoDB or Kafka: so many nodes, with so much disk each, in bytes."""

    cores: float
    nodes: int
    #: Shards of three members, or brokers.
    units: int
    disk: float
    because: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is calculated; rates are records a second in a burst, sizes are bytes."""

    deliveries: dict[str, float]
    #: The same in the mean.
    mean_deliveries: float
    mean_triggers: float
    roles: tuple[Role, ...]
    mongodb: Store
    kafka: Store
    network: dict[str, float]
    #: US dollars a month.
    money: dict[str, float]
    recovery_s: float

    @property
    def partitions_needed(self) -> int:
        """At least one for each worker of the largest role, also while it rolls."""
        return max(ceil(role.workers * (1 + SURGE)) for role in self.roles)

    def role(self, name: str) -> Role:
        return next(role for role in self.roles if role.name == name)


def plan(given: Inputs) -> Plan:
    """The plan for these inputs."""
    assumed = given.assumed
    by_channel = assumed["deliveries_per_trigger"]
    deliveries = {}
    for channel in CHANNELS:
        each = given.rate * by_channel[channel]
        deliveries[f"cric_{channel}"] = each * assumed["critical_share"]
        deliveries[channel] = each * (1 - assumed["critical_share"]) * assumed["standard_delivery_share"]
    mean_triggers = given.rate * assumed["average_share"]
    mean_deliveries = mean_triggers * sum(by_channel.values())
    roles = _roles(given, deliveries)
    mongodb = _mongodb(given, deliveries, mean_triggers, mean_deliveries)
    kafka = _kafka(given, deliveries, mean_triggers, mean_deliveries)
    network = _network(given, deliveries)
    people_a_router = given.people / min(role.workers for role in roles if role.name in LANES)
    return Plan(
        deliveries,
        mean_deliveries,
        mean_triggers,
        roles,
        mongodb,
        kafka,
        network,
        _money(given, roles, mongodb, kafka, mean_triggers, mean_deliveries),
        _TABLES * people_a_router / given.measured["disk_tables_recovery_keys_per_s"],
    )


def memory_people(given: Inputs, routers: int, limit: float) -> int:
    """The people whose rows `routers` with `limit` bytes each hold in memory."""
    return int(routers * _spare(given, limit) / given.measured["memory_tables_bytes_per_person"])


def memory_locations(given: Inputs, limit: float) -> int:
    """The people whose locations a worker with `limit` bytes holds in memory."""
    return int(_spare(given, limit) / given.measured["memory_table_user_locations_bytes_per_person"])


def _spare(given: Inputs, limit: float) -> float:
    return limit - float(given.assumed["worker_base_gib"]) * GIB


def _roles(given: Inputs, deliveries: dict[str, float]) -> tuple[Role, ...]:
    measured, assumed = given.measured, given.assumed
    limit = int(assumed["memory_limit_gib"] * GIB)
    tables = given.people * measured["disk_tables_bytes_per_person"]
    found = []
    for name in ROLES:
        least = _LEAST_CRITICAL if lane_of(name) == "critical" else _LEAST
        if name in LANES:
            share = assumed["critical_share"] if name == "critical" else 1 - assumed["critical_share"]
            own, other = given.rate * share, given.rate * (1 - share)
            # With many partitions each flush has fewer triggers.
            flushes = measured["two_routers_deliveries_per_s"] / measured["two_routers_256_partitions_deliveries_per_s"]
            own_us = flushes * measured["router_cpu_us_per_trigger"]
            cores = _US * (own * own_us + other * measured["other_lane_cpu_us_per_record"])
            by_cpu, by_memory = ceil(cores / assumed["utilisation"]), ceil(tables / _spare(given, limit))
            workers = max(by_cpu, by_memory, least)
            because = "its files on disk fit into its memory" if by_memory >= by_cpu else "CPU"
            found.append(Role(name, cores, workers, limit, _disk(tables / workers, _ROUTER_DISK), because))
        elif name in deliveries:
            cores = _US * deliveries[name] * _delivery_us(given, name)
            workers = max(ceil(cores / assumed["utilisation"]), least)
            found.append(Role(name, cores, workers, GIB // 2, 0, "CPU" if workers > least else "one may be lost"))
        elif name in _ALL_LOCATIONS:
            rows = given.people * measured["disk_table_user_locations_bytes_per_person"]
            memory = ceil(assumed["worker_base_gib"] + rows / GIB) * GIB
            because = "one may be lost; locations of all people"
            found.append(Role(name, 0.0, least, memory, _disk(rows, _LOCATIONS_DISK), because))
        else:
            cores = _US * measured["push_worker_cpu_us_per_delivery"] * _other_rate(given, name)
            workers = max(ceil(cores / assumed["utilisation"]), least)
            found.append(Role(name, cores, workers, GIB // 2, 0, "CPU" if workers > least else "one may be lost"))
    return tuple(found)


def _disk(rows: float, factor: float) -> int:
    """A file grows while partitions move, and never shrinks (docs/operate/tables.md); in whole GiB."""
    return ceil(factor * rows / GIB) * GIB


def _delivery_us(given: Inputs, role: str) -> float:
    measured = given.measured
    push = measured["push_worker_cpu_us_per_delivery"]
    # Of mails only the client is measured.
    return push + (measured["mail_client_cpu_us"] - measured["push_client_cpu_us"] if role.endswith("email") else 0.0)


def _other_rate(given: Inputs, role: str) -> float:
    """Records a second of the roles `forward` and `receipts`."""
    assumed = given.assumed
    if role == "forward":
        return float(given.rate * assumed["forwarded_share"])
    by_channel = assumed["deliveries_per_trigger"]
    return float(given.rate * assumed["average_share"] * (by_channel["email"] + by_channel["sms"]))


def _mongodb(given: Inputs, deliveries: dict[str, float], triggers: float, mean_deliveries: float) -> Store:
    measured, assumed, lengths = given.measured, given.assumed, given.lengths
    retention = given.settings.retention
    # A notification writes less than a settled delivery, which is what was measured.
    cores = _US * measured["mongodb_cpu_us_per_delivery"] * (given.rate + sum(deliveries.values()))
    index = assumed["mongodb_index_factor"]
    kept = index * (
        triggers * lengths.notification * retention.notifications.total_seconds()
        + mean_deliveries * lengths.attempt * retention.attempts.total_seconds()
    )
    oplog = assumed["mongodb_oplog_h"] * 3600 * (triggers * lengths.notification + mean_deliveries * lengths.attempt)
    rows = index * given.people * measured["disk_tables_bytes_per_person"]
    size = kept + oplog + rows
    by_cpu = ceil(cores / assumed["utilisation"] / assumed["mongodb_cores_per_shard"])
    by_disk = ceil(size / (assumed["mongodb_tb_per_shard"] * 1e12 * assumed["disk_utilisation"]))
    shards = max(by_cpu, by_disk)
    because = "disk" if by_disk >= by_cpu else "CPU"
    return Store(cores, 3 * shards, shards, size / shards / assumed["disk_utilisation"], because)


def _kafka(given: Inputs, deliveries: dict[str, float], triggers: float, mean_deliveries: float) -> Store:
    measured, assumed, lengths = given.measured, given.assumed, given.lengths
    copies = assumed["kafka_replication"]
    # What a message of a delivery costs, for each trigger and each delivery, and again for each follower.
    cores = _US * measured["kafka_cpu_us_per_delivery"] * (given.rate + sum(deliveries.values())) * copies
    retention = given.settings.retention
    seconds = (retention.topics + retention.segment).total_seconds()
    size = copies * seconds * (triggers * lengths.trigger + mean_deliveries * (lengths.message + lengths.event))
    replicas = copies * sum(spec.partitions for spec in all_topics(given.settings))
    needs = {
        "CPU": ceil(cores / assumed["utilisation"] / assumed["kafka_cores_per_broker"]),
        "disk": ceil(size / (assumed["kafka_tb_per_broker"] * 1e12 * assumed["disk_utilisation"])),
        "replicas of partitions": ceil(replicas / assumed["kafka_replicas_per_broker"]),
        "three zones": 3,
    }
    because = max(needs, key=lambda name: needs[name])
    brokers = 3 * ceil(needs[because] / 3)
    return Store(cores, brokers, brokers, size / brokers / assumed["disk_utilisation"], because)


def _network(given: Inputs, deliveries: dict[str, float]) -> dict[str, float]:
    """Bytes a second in a burst."""
    lengths, copies = given.lengths, given.assumed["kafka_replication"]
    queued = given.rate * sum(given.assumed["deliveries_per_trigger"].values())
    delivered = sum(deliveries.values())
    written = given.rate * lengths.trigger + queued * lengths.message + delivered * lengths.event
    # Both lanes read each trigger; the upstream systems read the events.
    read = 2 * given.rate * lengths.trigger + delivered * (lengths.message + lengths.event)
    stored = given.rate * lengths.notification + queued * lengths.message + delivered * lengths.attempt
    return {
        "into Kafka": written,
        "between brokers": written * (copies - 1),
        "out of Kafka": float(read),
        "into MongoDB, notifications, outbox rows and attempts": float(stored),
        "between members of MongoDB": 2.0 * stored,
    }


def _money(
    given: Inputs, roles: tuple[Role, ...], mongodb: Store, kafka: Store, triggers: float, mean_deliveries: float
) -> dict[str, float]:
    assumed, prices, lengths = given.assumed, given.prices, given.lengths
    cores = sum(role.workers * (1.0 if role.name in LANES or role.cores else 0.5) for role in roles)
    memory = sum(role.workers * role.memory for role in roles) / GIB
    # A rollout of the largest role, and a node that is drained.
    nodes = ceil(max(cores / assumed["node_cores"], memory / assumed["node_gib"]) * (1 + SURGE)) + 1
    # The mean of what crosses zones: two of three times.
    bytes_s = 2 / 3 * (
        triggers * (3 * lengths.trigger + 3 * lengths.notification)
        + mean_deliveries * (3 * lengths.message + 2 * lengths.event + 3 * lengths.attempt)
    ) + 2 * (triggers * lengths.trigger + mean_deliveries * (lengths.message + lengths.event))
    disk_gb = prices["disk_gb_month"] / 1e9
    writes = given.people * assumed["registry_writes_per_person_and_day"] * 30 * assumed["regions"]
    stored_gb = given.people * assumed["registry_bytes_per_person"] / 1e9 * assumed["regions"]
    return {
        f"workers: {nodes} nodes": nodes * prices["worker_node_h"] * _HOURS_A_MONTH,
        "workers: disks of tables": sum(role.workers * role.disk for role in roles) * disk_gb,
        f"MongoDB: {mongodb.nodes} nodes": mongodb.nodes * prices["mongodb_node_h"] * _HOURS_A_MONTH,
        "MongoDB: disks": mongodb.nodes * mongodb.disk * disk_gb,
        f"Kafka: {kafka.nodes} brokers": kafka.nodes * prices["kafka_node_h"] * _HOURS_A_MONTH,
        "Kafka: disks": kafka.nodes * kafka.disk * disk_gb,
        "Redis: 2 nodes": 2 * prices["redis_node_h"] * _HOURS_A_MONTH,
        f"DynamoDB: {assumed['regions']} replicas": writes / 1e6 * prices["dynamodb_million_writes"]
        + stored_gb * prices["dynamodb_gb_month"],
        "network between zones, in the mean": bytes_s * _DAY_S * 30 / 1e9 * prices["between_zones_gb"],
    }
