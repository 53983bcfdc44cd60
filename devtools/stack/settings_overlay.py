"""The settings that point the application at the stack. In: the regions; out: one YAML file a region, layered over `config/`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from devtools.stack.region import Region


def overlay(region: Region, others: Mapping[str, Region]) -> dict[str, Any]:
    """What differs from `config/<region>.yaml` where the services are the stack's. `others`: the other regions that are up."""
    settings: dict[str, Any] = {
        "kafka": region.kafka.address,
        # One broker a region holds one copy.
        "replication": 1,
        "remote_kafka": {name: other.kafka.address for name, other in others.items()},
        "shards": [shard.address for shard in region.shards],
        "redis": region.redis.address,
        "dynamodb": region.dynamodb.address,
        "providers": region.sandbox.urls(),
        "sandbox_record": str(region.sandbox.record),
        "web_token": region.plan.web_token,
        "web_port_base": region.plan.ports["web"],
    }
    # Every point of presence knows everybody, so each region writes to all of them.
    pops = [
        {"name": f"{one.name}-pop", "kind": "http", "url": one.edge.url, "token": one.plan.edge_token}
        for one in (region, *others.values())
        if one.edge
    ]
    if pops:
        settings |= {"edge": pops}
    return settings


def write(file: Path, settings: Mapping[str, Any]) -> None:
    """Replace the file in one step: a reader sees the old settings or the new."""
    fresh = file.with_suffix(".new")
    fresh.write_text("# Written by `notify-streams stack up`; layered over config/.\n" + yaml.safe_dump(dict(settings)))
    fresh.rename(file)
