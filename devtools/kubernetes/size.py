"""Replicas and memory of each role for 100M people, as in `docs/sizing.md`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from devtools.sizing.inputs import PEOPLE, RATE, inputs
from devtools.sizing.plan import GIB, plan

if TYPE_CHECKING:
    from devtools.sizing.plan import Role


def size() -> str:
    """A patch for the Deployment of each role."""
    found = plan(inputs(PEOPLE, RATE))
    return yaml.safe_dump_all([_patch(role) for role in found.roles], sort_keys=False, explicit_start=True)


def _patch(role: Role) -> dict[str, Any]:
    memory = f"{role.memory * 1024 // GIB}Mi"
    resources = {"requests": {"memory": memory}, "limits": {"memory": memory}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": role.name.replace("_", "-")},
        "spec": {
            "replicas": role.workers,
            "template": {"spec": {"containers": [{"name": "worker", "resources": resources}]}},
        },
    }
