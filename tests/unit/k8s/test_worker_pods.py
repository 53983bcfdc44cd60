"""A worker's pod as the application and its operators need it: settings that load, probes that answer, time to drain, no rights."""

import math
from pathlib import Path
from typing import Any

import pytest

from notify_streams.app import web_port
from notify_streams.preferences.categories import channels_of_templates, load_categories
from notify_streams.roles import CHANNEL_ROLES, ROLES
from notify_streams.secret import Secret
from notify_streams.templates.catalog import Templates
from notify_streams.templates.files import TemplateFiles
from notify_streams.transport import TransportSettings
from notify_streams.web.worker_views import WORKER_VIEWS
from tests.unit.k8s.pods import POD_IP, SECRETS, environment, pod, settings_of

Document = dict[str, Any]

CRITICAL = {role for role in ROLES if role.startswith("cri")}


@pytest.mark.parametrize("all_secrets", [True, False], ids=["all secrets", "only what every pod needs"])
def test_every_worker_s_environment_is_settings_and_has_the_secrets_of_its_role(
    documents: list[Document], workers: dict[str, Document], region: str, tmp_path: Path, all_secrets: bool
) -> None:
    secrets = {name: found for name, found in SECRETS.items() if all_secrets or name == "notify-streams"}
    for role, worker in workers.items():
        settings, said = settings_of(documents, worker, tmp_path, secrets)
        assert (settings.region, said) == (region, role)
        assert settings.web_host == "0.0.0.0", "or neither probes nor the Service find the views"
        assert settings.redis_security.password == Secret("of-redis")
        tokens = [settings.web_read_token, settings.web_write_token, settings.web_edge_token]
        named = [Secret(one.strip()) for one in SECRETS["notify-streams-views"].values()]
        assert tokens == (named if all_secrets and role == "views" else [None] * 3)
        assert settings.web_advertised_host == POD_IP, "or the page cannot ask it"
        assert bool(settings.edge) == (all_secrets and role == "registry")
        calls_providers = role in CHANNEL_ROLES or role == "webhooks"
        assert (settings.providers.fcm_service_account is not None) == (all_secrets and calls_providers)
        (port,) = pod(worker)["containers"][0]["ports"]
        assert port["containerPort"] == web_port(settings, role)
        mounts = {
            mount["mountPath"] for mount in pod(worker)["containers"][0]["volumeMounts"] if not mount.get("readOnly")
        }
        assert settings.data_dir in mounts, "everything else is read-only"
    used = channels_of_templates(load_categories(tmp_path / "categories.yaml"))
    assert Templates(TemplateFiles(tmp_path), used).in_locale("offer", "ar")


def test_the_init_container_asks_for_the_topics_of_its_role(
    documents: list[Document], workers: dict[str, Document], tmp_path: Path
) -> None:
    for role, worker in workers.items():
        (waits,) = pod(worker)["initContainers"]
        seen = environment(documents, waits, worker["spec"]["template"]["metadata"]["labels"])
        assert seen["NOTIFY_ROLE"] == role
        assert 'topics check --for-start --role "$NOTIFY_ROLE";' in waits["args"][0]
        assert {mount["name"] for mount in waits["volumeMounts"]} == {"settings", "secrets"}


def test_the_job_s_environment_is_settings_and_knows_every_topic(
    documents: list[Document], region: str, tmp_path: Path
) -> None:
    (job,) = (document for document in documents if document["kind"] == "Job")
    settings, _ = settings_of(documents, job, tmp_path, SECRETS)
    assert settings.region == region
    assert settings.web_read_token is None, "it has no views"
    assert [pop.name for pop in settings.edge] == ["fra"], "each point of presence has a topic"


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


def test_a_rollout_takes_a_quarter_of_the_pods_more_and_no_worker_idles(
    documents: list[Document], workers: dict[str, Document], tmp_path: Path
) -> None:
    settings, _ = settings_of(documents, workers["critical"], tmp_path, SECRETS)
    for role, worker in workers.items():
        assert worker["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": 0}
        replicas = worker["spec"]["replicas"]
        assert replicas >= 2 and replicas + math.ceil(replicas / 4) <= settings.partitions, role
    assert not [document for document in documents if document["kind"] == "HorizontalPodAutoscaler"]


def test_a_node_is_drained_one_worker_of_a_role_at_a_time_and_a_broken_one_does_not_stop_it(
    documents: list[Document],
) -> None:
    budgets = [document["spec"] for document in documents if document["kind"] == "PodDisruptionBudget"]
    assert sorted(one["selector"]["matchLabels"]["notify-streams/role"] for one in budgets) == sorted(ROLES)
    assert all(one["maxUnavailable"] == 1 for one in budgets)
    assert all(one["unhealthyPodEvictionPolicy"] == "AlwaysAllow" for one in budgets)


def test_the_critical_lane_is_kept_apart(workers: dict[str, Document]) -> None:
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
