"""The part of a region's state that outlives a command: ports, tokens, sizes."""

import secrets
from collections.abc import Callable, Collection, Mapping

import msgspec

#: Single ports of a region, besides those of its shards' members.
_PORTS = (
    *("kafka", "kafka.controller", "redis", "dynamodb", "edge"),
    *("sandbox.http", "sandbox.apns", "sandbox.web_push", "sandbox.smtp"),
)
SHARDS = 2
#: Those of the views by right, and those with which the edge is written and read.
TOKENS = ("web_read", "web_write", "web_edge", "edge_push", "edge_read")
#: Consecutive ports for the web views of the workers.
WEB_PORTS = 20


class RegionPlan(msgspec.Struct, frozen=True, kw_only=True):
    #: Set by `up`, cleared by `down`.
    wanted: bool
    #: Of each shard's replica set.
    members: int
    #: `kafka`, `shard0.2`, `web` (the first of 20), … -> port.
    ports: dict[str, int]
    #: Bearer tokens by name (`TOKENS`).
    tokens: dict[str, str] = {}
    #: Whether Kafka, MongoDB and Valkey want a log-in, and TLS.
    secure: bool = False
    #: service -> URIs of those outside the stack.
    external: dict[str, tuple[str, ...]] = {}


def plan_region(
    before: RegionPlan | None,
    members: int | None,
    external: Mapping[str, tuple[str, ...]],
    usable: Callable[[str, int], bool],
    free_port: Callable[[Collection[int], int], int],
    taken: Collection[int],
    secure: bool = False,
) -> RegionPlan:
    """The plan of the next start. Tokens stay; so do ports for which `usable(name, port)` holds, the others are replaced."""
    count = members or (before.members if before else 1)
    sizes = dict.fromkeys(_PORTS, 1)
    sizes |= {f"shard{shard}.{member}": 1 for shard in range(SHARDS) for member in range(count)}
    sizes["web"] = WEB_PORTS
    known = before.ports if before else {}
    ports = {name: port for name, port in known.items() if name in sizes and usable(name, port)}
    used = {*taken, *(port + extra for name, port in ports.items() for extra in range(sizes[name]))}
    for name, size in sizes.items():
        if name not in ports:
            ports[name] = free_port(used, size)
            used |= set(range(ports[name], ports[name] + size))
    return RegionPlan(
        wanted=True,
        members=count,
        ports=ports,
        tokens={name: (before.tokens if before else {}).get(name) or secrets.token_urlsafe(24) for name in TOKENS},
        secure=secure,
        external=dict(external),
    )


def all_ports(plans: Collection[RegionPlan]) -> set[int]:
    """Every port of these plans."""
    singles = {port for plan in plans for port in plan.ports.values()}
    return singles | {plan.ports["web"] + extra for plan in plans for extra in range(WEB_PORTS)}
