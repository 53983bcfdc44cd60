"""What is remembered of a region between commands: ports, tokens, sizes. In: the plan before; out: the plan now.

It refuses to know processes. A port that another program took meanwhile is replaced by a free one.
"""

import secrets
from collections.abc import Callable, Collection, Mapping

import msgspec

#: Single ports of a region, besides its shards' members.
_PORTS = (
    "kafka",
    "kafka.controller",
    "redis",
    "dynamodb",
    "sandbox.http",
    "sandbox.apns",
    "sandbox.smtp",
    "edge",
)
SHARDS = 2
#: The workers' web views get this many ports in a row.
WEB_PORTS = 20


class RegionPlan(msgspec.Struct, frozen=True, kw_only=True):
    #: `up` was asked for, and no `down` since.
    wanted: bool
    #: Of each shard's replica set.
    members: int
    #: `kafka`, `shard0.2`, `web` (the first of 20), … -> port.
    ports: dict[str, int]
    #: Bearer token of the operators' views.
    web_token: str
    #: Bearer token that the edge wants for a push.
    edge_token: str
    #: service -> URIs of those that run elsewhere.
    elsewhere: dict[str, tuple[str, ...]] = {}


def planned(
    before: RegionPlan | None,
    members: int | None,
    elsewhere: Mapping[str, tuple[str, ...]],
    usable: Callable[[str, int], bool],
    free_port: Callable[[Collection[int], int], int],
    taken: Collection[int],
) -> RegionPlan:
    """The plan to start from. Ports and tokens stay what they were; `usable(name, port)` says whether a port still can be."""
    count = members or (before.members if before else 1)
    names = dict.fromkeys(_PORTS, 1)
    names |= {f"shard{shard}.{member}": 1 for shard in range(SHARDS) for member in range(count)}
    names["web"] = WEB_PORTS
    kept = {
        name: port for name, port in (before.ports if before else {}).items() if name in names and usable(name, port)
    }
    used = {*taken, *kept.values()} | {kept["web"] + extra for extra in range(WEB_PORTS) if "web" in kept}
    ports = dict(kept)
    for name, row in names.items():
        if name not in ports:
            ports[name] = free_port(used, row)
            used |= set(range(ports[name], ports[name] + row))
    return RegionPlan(
        wanted=True,
        members=count,
        ports=ports,
        web_token=before.web_token if before else secrets.token_urlsafe(24),
        edge_token=before.edge_token if before else secrets.token_urlsafe(24),
        elsewhere=dict(elsewhere),
    )


def all_ports(plans: Collection[RegionPlan]) -> set[int]:
    """Every port that these plans hold."""
    rows = {port for plan in plans for port in plan.ports.values()}
    return rows | {plan.ports["web"] + extra for plan in plans for extra in range(WEB_PORTS)}
