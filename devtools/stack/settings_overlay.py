"""The settings file of a region: points the application at the local services."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from devtools.private_file import write_private
from devtools.stack.credentials import MONGO_OPERATOR, MONGO_WORKERS, PREFIX, Credentials
from devtools.stack.region import Region
from notify_streams.admin.topic_acls import principal_name

#: Enough for a laptop; a region in production has more (`config/`).
PARTITIONS: Final = 8
#: Regions that are started one after the other need the same keys. They are in the open: for this machine alone.
_LINK_KEY, _ADDRESS_KEY, _WEBHOOK_KEY = (
    hashlib.sha256(f"notify-streams local stack {use}".encode()).digest() for use in ("links", "addresses", "webhooks")
)


def overlay(region: Region, others: Mapping[str, Region]) -> dict[str, Any]:
    """The settings that replace those of `config/<region>.yaml`. `others`: the other regions that are up."""
    settings: dict[str, Any] = {
        "kafka": region.kafka.address,
        "partitions": PARTITIONS,
        # A region has one broker.
        "replication": 1,
        "remote_kafka": {name: other.kafka.address for name, other in others.items()},
        "shards": [shard.address for shard in region.shards],
        "redis": region.redis.address,
        "dynamodb": region.dynamodb.address,
        # The sandbox is a fake: it recovers sooner than a provider.
        "providers": {**region.sandbox.settings(), "retry_pace": 0.1},
        # Sign-ups arrive within this time, and demonstrations need not wait longer for the others.
        "user_wait_s": 2.0,
        "sandbox_record": str(region.sandbox.provider_log),
        **{f"web_{right}_token": region.plan.tokens[f"web_{right}"] for right in ("read", "write", "edge")},
        "public": {
            "urls": {one.name: one.public_url() for one in (region, *others.values())},
            "link_keys": base64.urlsafe_b64encode(_LINK_KEY).decode(),
            "address_key": _ADDRESS_KEY.hex(),
            "webhook_secrets": f"whsec_{base64.b64encode(_WEBHOOK_KEY).decode()}",
        },
        # In the region's folder, so that `down --wipe` removes the workers' data and logs.
        "data_dir": str(region.folder / "workers"),
        "web_port_base": region.plan.ports["web"],
        **_security(region, others),
    }
    # Every point of presence holds the users of all regions, so each region pushes to all of them.
    pops = [
        {"name": f"{one.name}-pop", "kind": "http", "url": one.edge.url, "token": one.plan.tokens["edge_push"]}
        for one in (region, *others.values())
        if one.edge
    ]
    return settings | {"edge": pops} if pops else settings


def worker_environ(region: Region, role: str, others: Mapping[str, Region]) -> dict[str, str]:
    """The variables that let a worker of a secure region log in as its role, where the settings file has the operator's log-ins."""
    found: dict[str, str] = {}

    def log_in(setting: str, user: str, credentials: Credentials | None) -> None:
        if credentials is not None:
            found[f"NOTIFY_{setting}__USERNAME"] = user
            found[f"NOTIFY_{setting}__PASSWORD_FILE"] = str(credentials.file(user))

    log_in("KAFKA_SECURITY", principal_name(PREFIX, role), region.credentials)
    log_in("MONGO_SECURITY", MONGO_WORKERS, region.credentials)
    for name, other in others.items():
        user = principal_name(PREFIX, f"forward-from-{region.name}")
        log_in(f"REMOTE_KAFKA_SECURITY__{name.upper()}", user, other.credentials)
    return found


def _security(region: Region, others: Mapping[str, Region]) -> dict[str, Any]:
    """The operator's log-ins, and those at the other regions' Kafka. Workers have their own (`worker_environ`)."""
    found: dict[str, Any] = {}
    if region.credentials is not None:
        found |= {
            "kafka_security": region.credentials.kafka(principal_name(PREFIX, "operator")),
            "mongo_security": region.credentials.mongo(MONGO_OPERATOR),
            "redis_security": region.credentials.redis(tls=region.redis.address.startswith("rediss:")),
        }
    user = principal_name(PREFIX, f"operator-from-{region.name}")
    remote = {name: other.credentials.kafka(user) if other.credentials else {} for name, other in others.items()}
    return found | ({"remote_kafka_security": remote} if found or any(remote.values()) else {})


def write(file: Path, settings: Mapping[str, Any]) -> None:
    """Replace `file` atomically."""
    head = "# Written by `notify-streams stack up`; layered over config/.\n"
    write_private(file, head + yaml.safe_dump(dict(settings)))
