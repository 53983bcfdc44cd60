"""A worker's pod as the application and its operators need it: settings that load, probes that answer, time to drain, no rights."""

from pathlib import Path
from typing import Any

import pytest

from notify_streams.app import web_port
from notify_streams.preferences.categories import channels_of_templates, load_categories
from notify_streams.roles import ROLES
from notify_streams.secret import Secret
from notify_streams.settings import Settings, load_settings
from notify_streams.templates.catalog import Templates
from notify_streams.templates.files import TemplateFiles
from notify_streams.transport import TransportSettings
from notify_streams.web import WORKER_VIEWS

Document = dict[str, Any]

CRITICAL = {role for role in ROLES if role.startswith("cri")}
#: What the Secret may hold, as an operator would write it.
SECRETS = {
    "web-read-token": "a-token-that-reads\n",
    "web-write-token": "a-token-that-writes",
    "web-edge-token": "a-token-of-the-edge",
    "edge": '[{name: fra, url: "https://fra.example", kind: http, token: t}]',
}


def pod(document: Document) -> Document:
    found: Document = document["spec"]["template"]["spec"]
    return found


def environment(
    documents: list[Document], container: Document, labels: Document, secrets: dict[str, str]
) -> dict[str, str]:
    """What the process would see: ConfigMaps, the pod's own labels, and of the Secret what is there."""
    maps = {one["metadata"]["name"]: one["data"] for one in documents if one["kind"] == "ConfigMap"}
    seen: dict[str, str] = {}
    for source in container["envFrom"]:
        seen |= maps[source["configMapRef"]["name"]]
    for variable in container.get("env", ()):
        source = variable.get("valueFrom")
        if source is None:
            seen[variable["name"]] = variable["value"]
        elif "fieldRef" in source:
            seen[variable["name"]] = labels[source["fieldRef"]["fieldPath"].split("'")[1]]
        elif source["secretKeyRef"]["key"] in secrets:
            seen[variable["name"]] = secrets[source["secretKeyRef"]["key"]]
        else:
            assert source["secretKeyRef"]["optional"], f"{variable['name']}: the pod would not start"
    return seen


def settings_of(
    documents: list[Document], document: Document, folder: Path, secrets: dict[str, str]
) -> tuple[Settings, str]:
    """The settings and the role of a pod whose volumes `settings` and `secrets` are written to `folder`."""
    maps = {one["metadata"]["name"]: one["data"] for one in documents if one["kind"] == "ConfigMap"}
    (volume,) = (volume for volume in pod(document)["volumes"] if volume["name"] == "settings")
    for source in volume["projected"]["sources"]:
        for name, text in maps[source["configMap"]["name"]].items():
            (folder / name).write_text(text)
    container = pod(document)["containers"][0]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    seen = environment(documents, container, document["spec"]["template"]["metadata"]["labels"], secrets)
    assert seen["NOTIFY_CONFIG_DIR"] == mounts["settings"]
    for key, text in secrets.items():
        (folder / key).write_text(text)
    seen = {name: value.replace(mounts["secrets"], str(folder)) for name, value in seen.items()}
    return load_settings(seen["NOTIFY_REGION"], environ=seen, config_dir=folder), seen.get("NOTIFY_ROLE", "")


@pytest.mark.parametrize("with_edge", [True, False], ids=["all secrets", "only the tokens"])
def test_every_worker_s_environment_is_settings(
    documents: list[Document], workers: dict[str, Document], region: str, tmp_path: Path, with_edge: bool
) -> None:
    secrets = {key: text for key, text in SECRETS.items() if with_edge or key != "edge"}
    for role, worker in workers.items():
        settings, said = settings_of(documents, worker, tmp_path, secrets)
        assert (settings.region, said) == (region, role)
        assert settings.web_host == "0.0.0.0", "or neither probes nor the Service find the views"
        tokens = (settings.web_read_token, settings.web_write_token, settings.web_edge_token)
        named = [Secret(secrets[f"web-{right}-token"].strip()) for right in ("read", "write", "edge")]
        assert list(tokens) == (named if role == "views" else [None] * 3)
        assert settings.web_peers == (("workers:6066",) if role == "views" else ())
        assert bool(settings.edge) == (role == "registry" and "edge" in secrets)
        (port,) = pod(worker)["containers"][0]["ports"]
        assert port["containerPort"] == web_port(settings, role)
        mounts = {
            mount["mountPath"] for mount in pod(worker)["containers"][0]["volumeMounts"] if not mount.get("readOnly")
        }
        assert settings.data_dir in mounts, "everything else is read-only"
    used = channels_of_templates(load_categories(tmp_path / "categories.yaml"))
    assert Templates(TemplateFiles(tmp_path), used).in_locale("offer", "ar")


def test_the_job_s_environment_is_settings(documents: list[Document], region: str, tmp_path: Path) -> None:
    (job,) = (document for document in documents if document["kind"] == "Job")
    settings, _ = settings_of(documents, job, tmp_path, SECRETS)
    assert settings.region == region
    assert settings.web_read_token is None, "it has no views"


def test_probes_ask_views_that_exist(workers: dict[str, Document]) -> None:
    views = set(WORKER_VIEWS)
    for worker in workers.values():
        (container,) = pod(worker)["containers"]
        asked = {probe: container[f"{probe}Probe"]["httpGet"] for probe in ("startup", "liveness", "readiness")}
        assert {probe: get["path"] for probe, get in asked.items()} == {
            "startup": "/live",
            "liveness": "/live",
            "readiness": "/ready",
        }
        assert {get["path"] for get in asked.values()} <= views
        assert {get["port"] for get in asked.values()} == {container["ports"][0]["name"]}


def test_a_worker_may_finish_what_is_in_flight(
    documents: list[Document], workers: dict[str, Document], tmp_path: Path
) -> None:
    settings, _ = settings_of(documents, workers["critical"], tmp_path, SECRETS)
    bounds = (
        TransportSettings().drain_timeout_s,
        settings.outbox.transaction_timeout_s,
        settings.outbox.publish_timeout_s,
        settings.broker.request_timeout_s,
    )
    for worker in workers.values():
        assert pod(worker)["terminationGracePeriodSeconds"] > sum(bounds)


def test_a_rollout_is_two_waves_in_which_no_worker_idles(
    documents: list[Document], workers: dict[str, Document], tmp_path: Path
) -> None:
    settings, _ = settings_of(documents, workers["critical"], tmp_path, SECRETS)
    for role, worker in workers.items():
        assert worker["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": "100%", "maxUnavailable": 0}
        assert 2 <= worker["spec"]["replicas"] <= settings.partitions / 2, role
    assert not [document for document in documents if document["kind"] == "HorizontalPodAutoscaler"]


def test_the_critical_lane_is_kept_apart_and_the_rest_is_not(
    documents: list[Document], workers: dict[str, Document]
) -> None:
    budgets = [document["spec"] for document in documents if document["kind"] == "PodDisruptionBudget"]
    assert {budget["selector"]["matchLabels"]["notify-streams/role"] for budget in budgets} == CRITICAL
    assert all(budget["maxUnavailable"] == 1 for budget in budgets)
    for role, worker in workers.items():
        spread = {one["topologyKey"]: one["whenUnsatisfiable"] for one in pod(worker)["topologySpreadConstraints"]}
        lane = worker["spec"]["template"]["metadata"]["labels"]["notify-streams/lane"]
        assert spread["topology.kubernetes.io/zone"] == "ScheduleAnyway"
        if role in CRITICAL:
            assert lane == "critical"
            assert pod(worker)["priorityClassName"] == "notify-streams-critical"
            assert spread["kubernetes.io/hostname"] == "DoNotSchedule"
        else:
            assert lane == "standard"
            assert "priorityClassName" not in pod(worker)


def test_a_pod_has_no_rights_and_no_token(documents: list[Document]) -> None:
    pods = [pod(document) for document in documents if document["kind"] in ("Deployment", "Job")]
    assert len(pods) == len(ROLES) + 1
    for one in pods:
        assert one["automountServiceAccountToken"] is False
        assert one["enableServiceLinks"] is False, (
            "a Service called notify-… would become a setting that does not exist"
        )
        assert one["securityContext"]["runAsNonRoot"] is True
        assert one["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in (*one["containers"], *one.get("initContainers", ())):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            resources = container["resources"]
            assert resources["limits"] == {"memory": resources["requests"]["memory"]}, "throttled, it loses its session"
    accounts = [document for document in documents if document["kind"] == "ServiceAccount"]
    assert all(account["automountServiceAccountToken"] is False for account in accounts)


def test_only_the_registry_role_has_the_identity_that_may_write_the_registry(workers: dict[str, Document]) -> None:
    for role, worker in workers.items():
        assert pod(worker)["serviceAccountName"] == (role if role in ("registry", "views", "webhooks") else "worker")
