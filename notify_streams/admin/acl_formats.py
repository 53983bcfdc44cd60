"""ACLs as `kafka-acls.sh` commands, and as KafkaUsers of Strimzi."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any, Final

import yaml

from notify_streams.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from notify_streams.admin.topic_acls import Access, Principal

_USER: Final = "User:"
#: RFC 1123, and the 64 characters of a certificate's common name.
_KUBERNETES_NAME: Final = re.compile(r"(?=.{1,64}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def kafka_acls(principals: Sequence[Principal], servers: str) -> Iterator[str]:
    """Shell commands; one for each principal, kind of resource and list of operations."""
    for principal in principals:
        alike: dict[tuple[object, ...], list[Access]] = {}
        for one in principal.accesses:
            alike.setdefault((one.resource, one.operations, one.prefixed), []).append(one)
        for accesses in alike.values():
            first = accesses[0]
            words = ["kafka-acls.sh", "--bootstrap-server", servers, "--command-config", "admin.properties", "--add"]
            words += ["--allow-principal", principal.name]
            words += [word for operation in first.operations for word in ("--operation", operation)]
            words += [word for one in accesses for word in (f"--{one.resource}", one.name)]
            words += ["--resource-pattern-type", "prefixed"] if first.prefixed else []
            yield shlex.join(words)


def strimzi_users(principals: Sequence[Principal], cluster: str) -> str:
    """YAML documents, `kafka.strimzi.io/v1`. The User Operator makes each user's password and keeps it in a Secret of the same name.

    Raises:
        Refused: a name cannot be that of a Kubernetes resource.
    """
    return yaml.safe_dump_all([_strimzi_user(one, cluster) for one in principals], sort_keys=False, explicit_start=True)


def _strimzi_user(principal: Principal, cluster: str) -> dict[str, Any]:
    name = principal.name.removeprefix(_USER)
    if name == principal.name or not _KUBERNETES_NAME.fullmatch(name):
        raise Refused(
            f"{principal.name} cannot be a KafkaUser: after {_USER} it needs at most 64 lower-case letters, digits and hyphens"
        )
    acls = [
        {
            "resource": {
                "type": one.resource,
                "name": one.name,
                "patternType": "prefix" if one.prefixed else "literal",
            },
            "operations": list(one.operations),
        }
        for one in principal.accesses
    ]
    return {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaUser",
        "metadata": {"name": name, "labels": {"strimzi.io/cluster": cluster}},
        "spec": {
            "authentication": {"type": "scram-sha-512"},
            "authorization": {"type": "simple", "acls": acls},
        },
    }
