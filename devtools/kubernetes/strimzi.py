"""Strimzi resources of a region: a KafkaTopic a topic, a KafkaUser a principal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import yaml

from notify_streams.admin.acl_formats import strimzi_users
from notify_streams.admin.topic_acls import principals
from notify_streams.roles import ROLES
from notify_streams.topics import all_topics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.settings import Settings

#: The name of the Kafka resource in `k8s/strimzi`.
CLUSTER: Final = "kafka"
_PRINCIPAL_PREFIX: Final = "notify-"
_PROVIDERS: Final = "notify-streams-providers"
_VIEWS: Final = "notify-streams-views"
_REGISTRY: Final = "notify-streams-registry"
#: Deployment or Job → the Secrets that its pods have beside `notify-streams` (k8s/base, components/operator).
_SECRETS_OF: Final = {
    **dict.fromkeys(("push", "sms", "email", "cric-push", "cric-sms", "cric-email", "webhooks"), (_PROVIDERS,)),
    "views": (_VIEWS,),
    "registry": (_REGISTRY,),
    "prepare": (_REGISTRY,),
    "operator": (_PROVIDERS, _VIEWS, _REGISTRY, "notify-streams-operator"),
}


def topics(settings: Settings) -> str:
    """The topics of `settings`, with partitions, replicas and configuration, as `topics ensure` creates them."""
    return _documents(
        [_topic(spec.name, spec.partitions, settings.replication, dict(spec.config)) for spec in all_topics(settings)]
    )


def users(settings: Settings) -> str:
    """The principals of `settings` with their ACLs."""
    return strimzi_users(principals(settings, f"User:{_PRINCIPAL_PREFIX}"), CLUSTER)


def logins() -> str:
    """Patches: each pod logs in to Kafka as the principal of its role, with the password that the User Operator made."""
    roles = [role.replace("_", "-") for role in ROLES]
    workers = [_login("Deployment", role, role, ("worker",), ("topics",)) for role in roles]
    return _documents([*workers, _login("Job", "prepare", "operator", ("prepare",))])


def operator_login() -> str:
    """The same for the pod of operators."""
    return _documents([_login("Deployment", "operator", "operator", ("operator",))])


def _topic(name: str, partitions: int, replicas: int, config: dict[str, str]) -> dict[str, Any]:
    config |= {"min.insync.replicas": "2"} if replicas > 2 else {}
    return {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaTopic",
        # Kubernetes allows no underscores.
        "metadata": {"name": re.sub("[^a-z0-9.]", "-", name.lower()), "labels": {"strimzi.io/cluster": CLUSTER}},
        "spec": {"topicName": name, "partitions": partitions, "replicas": replicas, "config": config},
    }


def _login(
    kind: str, name: str, principal: str, containers: Sequence[str], init_containers: Sequence[str] = ()
) -> dict[str, Any]:
    user = f"{_PRINCIPAL_PREFIX}{principal}"
    environment = [{"name": "NOTIFY_KAFKA_SECURITY__USERNAME", "value": user}]
    sources: list[dict[str, Any]] = [{"secret": {"name": "notify-streams"}}]
    sources += [{"secret": {"name": own, "optional": True}} for own in _SECRETS_OF.get(name, ())]
    sources += [
        _file(user, "password", "kafka_security.password"),
        _file(f"{CLUSTER}-cluster-ca-cert", "ca.crt", "kafka_security.tls.ca_file"),
    ]
    spec: dict[str, Any] = {}
    for field, names in (("initContainers", init_containers), ("containers", containers)):
        if names:
            spec[field] = [{"name": one, "env": environment} for one in names]
    spec["volumes"] = [{"name": "secrets", "projected": {"sources": sources}}]
    return {
        "apiVersion": "apps/v1" if kind == "Deployment" else "batch/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"template": {"spec": spec}},
    }


def _file(secret: str, key: str, setting: str) -> dict[str, Any]:
    return {"secret": {"name": secret, "items": [{"key": key, "path": setting}]}}


def _documents(documents: list[dict[str, Any]]) -> str:
    dumper = yaml.SafeDumper
    dumper.ignore_aliases = lambda *_: True  # type: ignore[method-assign]
    return yaml.dump_all(documents, Dumper=dumper, sort_keys=False, explicit_start=True)
