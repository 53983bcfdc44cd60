"""Each component of k8s/components in an overlay, and the manifests that are generated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import certifi
import pytest
import yaml

from devtools.kubernetes.files import COMPONENTS, REGIONS, generated
from devtools.sizing.inputs import PEOPLE, RATE, inputs
from devtools.sizing.plan import plan
from devtools.stack.paths import PROJECT
from notify_streams.admin.topic_acls import principals
from notify_streams.roles import MODULES, ROLES
from notify_streams.secret import Secret
from notify_streams.settings import load_settings
from notify_streams.topics import all_topics
from tests.unit.k8s.pods import SECRETS, settings_of

Document = dict[str, Any]
BuildWith = Callable[..., list[Document]]

#: What a platform chooses; `strimzi-<region>` belongs to one region.
ALL = ("external-secrets", "operator", "kafka-users", "size-100m", "disk-tables")
#: Validated with their operators' models: tests/contract/kubernetes.
CUSTOM = ("kafka.strimzi.io/v1", "external-secrets.io/v1")


def test_every_component_is_built_here() -> None:
    folders = {folder.name for folder in COMPONENTS.iterdir()}
    assert folders == {*ALL, "region", *(f"strimzi-{region}" for region in REGIONS)}


@pytest.mark.parametrize("file", generated(), ids=lambda file: str(file.relative_to(PROJECT)))
def test_what_is_generated_is_as_its_generator_writes_it(file: Path) -> None:
    assert file.read_text() == generated()[file], "run: python -m devtools.kubernetes"


@pytest.mark.parametrize("region", REGIONS)
def test_kubernetes_knows_every_field_with_all_components(
    region: str, build_with: BuildWith, validate: Callable[[Document], object]
) -> None:
    for document in build_with(region, f"strimzi-{region}", *ALL):
        if document["apiVersion"] not in CUSTOM:
            validate(document)


def test_the_kafka_of_strimzi_is_built(build: Callable[[Path], list[Document]]) -> None:
    documents = build(PROJECT / "k8s" / "strimzi")
    assert [one["kind"] for one in documents] == ["Namespace", "Kafka", "KafkaNodePool", "KafkaNodePool"]
    config = next(one for one in documents if one["kind"] == "Kafka")["spec"]["kafka"]["config"]
    assert config["auto.create.topics.enable"] is False
    settings = load_settings("us", environ={}, config_dir=PROJECT / "config")
    assert config["group.min.session.timeout.ms"] == settings.broker.critical_session_timeout_s * 1000


@pytest.mark.parametrize("region", REGIONS)
def test_a_region_s_topics_and_users_are_those_of_its_settings(region: str, build_with: BuildWith) -> None:
    documents = build_with(region, f"strimzi-{region}")
    settings = load_settings(region, environ={}, config_dir=PROJECT / "config")
    topics = [one["spec"] for one in documents if one["kind"] == "KafkaTopic"]
    assert {one["topicName"]: one["partitions"] for one in topics} == {
        spec.name: spec.partitions for spec in all_topics(settings)
    }
    users = {one["metadata"]["name"] for one in documents if one["kind"] == "KafkaUser"}
    assert users == {one.name.removeprefix("User:") for one in principals(settings, "User:notify-")}
    assert {one["metadata"]["namespace"] for one in documents if "strimzi" in one["apiVersion"]} == {"notify-streams"}


def test_each_pod_logs_in_to_kafka_as_the_user_of_its_role(build_with: BuildWith, tmp_path: Path) -> None:
    documents = build_with("us", "operator", "kafka-users", "strimzi-us")
    users = {one["metadata"]["name"] for one in documents if one["kind"] == "KafkaUser"}
    secrets = SECRETS | {user: {"password": f"of-{user}"} for user in users}
    secrets["kafka-cluster-ca-cert"] = {"ca.crt": Path(certifi.where()).read_text()}
    logged_in = {}
    for document in documents:
        if document["kind"] in ("Deployment", "Job"):
            settings, role = settings_of(documents, document, tmp_path, secrets)
            kafka = settings.kafka_security
            assert (kafka.protocol, kafka.mechanism) == ("SASL_SSL", "SCRAM-SHA-512")
            assert kafka.password == Secret(f"of-{kafka.username}")
            assert kafka.tls is not None and kafka.tls.ca_file == str(tmp_path / "secrets/kafka_security.tls.ca_file")
            logged_in[role or document["metadata"]["name"].split("-")[0]] = kafka.username
    users_of_roles = {role: f"notify-{role.replace('_', '-')}" for role in ROLES}
    assert logged_in == users_of_roles | {"prepare": "notify-operator", "operator": "notify-operator"}
    assert {*logged_in.values()} <= users


def test_roles_with_tables_are_stateful_and_each_pod_has_a_volume(build_with: BuildWith, tmp_path: Path) -> None:
    documents = build_with("us", "size-100m", "disk-tables")
    stateful = {one["metadata"]["name"]: one for one in documents if one["kind"] == "StatefulSet"}
    with_tables = {role for role in ROLES if any(module.startswith("tables.") for module in MODULES[role])}
    assert stateful.keys() == with_tables
    deployments = {one["metadata"]["name"] for one in documents if one["kind"] == "Deployment"}
    assert deployments == {role.replace("_", "-") for role in ROLES} - with_tables
    services = {one["metadata"]["name"]: one["spec"] for one in documents if one["kind"] == "Service"}
    for role, document in stateful.items():
        settings, said = settings_of(documents, document, tmp_path, SECRETS)
        assert (settings.tables.store, said) == ("disk", role)
        # Without a group no name; partitions of the critical lane must not wait for a restart.
        assert settings.broker.instance == ("standard-0" if role in ("standard", "registry") else None)
        spec = document["spec"]
        assert services[spec["serviceName"]]["clusterIP"] == "None"
        assert spec["podManagementPolicy"] == "Parallel"
        assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Delete", "whenScaled": "Delete"}
        (claim,) = spec["volumeClaimTemplates"]
        pod = spec["template"]["spec"]
        assert claim["metadata"]["name"] not in {volume["name"] for volume in pod["volumes"]}
        (mount,) = (one for one in pod["containers"][0]["volumeMounts"] if one["name"] == claim["metadata"]["name"])
        assert mount["mountPath"] == (settings.tables.folder or settings.data_dir)
        assert pod["securityContext"]["fsGroup"] == 10001, "or the volume is root's"


def test_the_size_for_100m_is_that_of_the_page(build_with: BuildWith) -> None:
    documents = build_with("us", "size-100m", "disk-tables")
    found = plan(inputs(PEOPLE, RATE))
    for document in documents:
        if document["kind"] in ("Deployment", "StatefulSet"):
            role = found.role(document["metadata"]["name"].replace("-", "_"))
            (container,) = document["spec"]["template"]["spec"]["containers"]
            assert document["spec"]["replicas"] == role.workers
            assert container["resources"]["limits"]["memory"] == f"{role.memory // 2**20}Mi"
            assert container["resources"]["requests"]["memory"] == f"{role.memory // 2**20}Mi"


def test_a_login_takes_no_secret_from_a_role(build_with: BuildWith) -> None:
    def sources(documents: list[Document]) -> dict[str, list[Any]]:
        return {
            one["kind"] + one["metadata"]["name"].split("-")[0]: volume["projected"]["sources"]
            for one in documents
            if one["kind"] in ("Deployment", "Job")
            for volume in one["spec"]["template"]["spec"]["volumes"]
            if volume["name"] == "secrets"
        }

    plain, with_login = sources(build_with("us", "operator")), sources(build_with("us", "operator", "kafka-users"))
    assert {name: found[:-2] for name, found in with_login.items()} == plain


@pytest.mark.parametrize("region", REGIONS)
def test_each_secret_comes_from_the_region_s_object_of_that_name(region: str, build_with: BuildWith) -> None:
    documents = build_with(region, "external-secrets")
    found = {one["metadata"]["name"]: one["spec"] for one in documents if one["kind"] == "ExternalSecret"}
    assert found.keys() == SECRETS.keys()
    for name, spec in found.items():
        assert spec["target"]["name"] == name
        assert spec["dataFrom"] == [{"extract": {"key": f"{region}/{name}"}}]


@pytest.mark.parametrize("component", [*ALL, "strimzi-us"])
def test_each_component_works_alone(component: str, build_with: BuildWith) -> None:
    assert len(build_with("us", component)) >= len(build_with("us"))


def test_components_are_explained() -> None:
    explained = (PROJECT / "docs" / "deploy" / "kubernetes.md").read_text()
    assert all(f"`components/{name}`" in explained for name in (*ALL, "region", "strimzi-<region>"))


def test_an_example_of_an_overlay_with_components_is_yaml_that_kustomize_reads() -> None:
    explained = (PROJECT / "docs" / "deploy" / "kubernetes.md").read_text()
    example = yaml.safe_load(explained.split("```yaml\n")[1].split("```")[0])
    assert {Path(one).name for one in example["components"]} == {*ALL, "strimzi-us", "region"}
