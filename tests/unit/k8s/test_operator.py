"""The pod for commands (k8s/components/operator): whatever a command needs is in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devtools.kubernetes.secret_keys import secret_keys
from devtools.stack.paths import PROJECT
from notify_streams.secret import Secret
from notify_streams.settings import load_settings
from tests.unit.k8s.pods import SECRETS, environment, pod, settings_of

Document = dict[str, Any]
BuildWith = Callable[..., list[Document]]

REGIONS = ("us", "eu", "asia")


@pytest.fixture
def manifests(region: str, build_with: BuildWith) -> list[Document]:
    return build_with(region, "operator")


@pytest.fixture
def operator(manifests: list[Document]) -> Document:
    return next(one for one in manifests if (one["kind"], one["metadata"]["name"]) == ("Deployment", "operator"))


def test_it_has_every_secret_and_its_own_log_ins_in_other_regions(
    manifests: list[Document], operator: Document, region: str, tmp_path: Path
) -> None:
    (volume,) = (one for one in pod(operator)["volumes"] if one["name"] == "secrets")
    mounted = [one["secret"]["name"] for one in volume["projected"]["sources"]]
    assert {*mounted} == {*secret_keys().values(), "notify-streams-operator"}
    other = next(one for one in REGIONS if one != region)
    secrets = SECRETS | {"notify-streams-operator": {f"remote_kafka_security.{other}.password": "of-the-operator"}}
    secrets["notify-streams"] = secrets["notify-streams"] | {
        f"remote_kafka_security.{other}.protocol": "SASL_SSL",
        f"remote_kafka_security.{other}.mechanism": "SCRAM-SHA-512",
        f"remote_kafka_security.{other}.username": "notify",
        f"remote_kafka_security.{other}.password": "of-the-role-forward",
    }
    settings, _ = settings_of(manifests, operator, tmp_path, secrets)
    assert settings.region == region and settings.edge and settings.web_read_token
    assert settings.providers.fcm_service_account
    assert settings.remote_kafka_security[other].password == Secret("of-the-operator")
    seen = environment(manifests, pod(operator)["containers"][0], {}) | {
        "NOTIFY_SECRETS_DIR": str(tmp_path / "secrets")
    }
    for each in REGIONS:
        assert load_settings(each, environ=seen, config_dir=tmp_path).region == each, "`why` asks every region"


def test_no_other_pod_gets_anything_by_it(
    manifests: list[Document], region: str, region_build: Callable[[str], list[Document]]
) -> None:
    def pods(documents: list[Document]) -> list[Document]:
        return [one for one in documents if one["kind"] in ("Deployment", "Job", "Service", "PodDisruptionBudget")]

    assert [one for one in pods(manifests) if one["metadata"]["name"] != "operator"] == pods(region_build(region))


def test_it_is_the_image_of_the_workers_with_no_more_rights(manifests: list[Document], operator: Document) -> None:
    worker = next(one for one in manifests if (one["kind"], one["metadata"]["name"]) == ("Deployment", "push"))
    (container,), (of_worker,) = pod(operator)["containers"], pod(worker)["containers"]
    assert container["image"] == of_worker["image"]
    assert container["securityContext"] == of_worker["securityContext"]
    for field in ("securityContext", "automountServiceAccountToken", "enableServiceLinks"):
        assert pod(operator)[field] == pod(worker)[field]


def test_the_space_for_the_audit_is_that_of_the_page(operator: Document) -> None:
    (volume,) = (one for one in pod(operator)["volumes"] if one["name"] == "tmp")
    assert {"name": "tmp", "mountPath": "/tmp"} in pod(operator)["containers"][0]["volumeMounts"]
    page = (PROJECT / "docs" / "operate" / "index.md").read_text()
    found = re.search(r"`/tmp` of (\d+Gi)", page)
    assert found and volume["emptyDir"] == {"sizeLimit": found[1]}
