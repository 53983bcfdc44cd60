"""Who may speak to whom: worked out from the NetworkPolicies of each overlay as the cluster would."""

import shutil
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import yaml

from devtools.stack.paths import PROJECT
from notify_streams.admin.bootstrap import create_registry
from notify_streams.public import PUBLIC_VIEWS
from notify_streams.roles import CHANNEL_ROLES, ROLES
from notify_streams.settings import load_settings
from notify_streams.web.worker_views import WORKER_VIEWS

Document = dict[str, Any]
RegionBuild = Callable[[str], list[Document]]

KAFKA = 9092
PREPARE = "prepare"
NO_ONE = ip_network("192.0.2.0/24")
OPERATOR = "operator"
#: Pods that are no workers.
LABELS = {
    PREPARE: {"app.kubernetes.io/component": PREPARE},
    OPERATOR: {"notify-streams/role": OPERATOR, "app.kubernetes.io/component": OPERATOR},
}
REGIONS = ("us", "eu", "asia")
PRIVATE = {
    4: ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"),
    6: ("fc00::/7", "fe80::/10"),
}
Network = IPv4Network | IPv6Network


class Way(NamedTuple):
    """An address block that pods may speak to, what is not of it, and on which port."""

    network: Network
    but: tuple[Network, ...]
    port: int


def policies(documents: list[Document]) -> dict[str, Document]:
    return {one["metadata"]["name"]: one["spec"] for one in documents if one["kind"] == "NetworkPolicy"}


def applies(selector: Document, role: str) -> bool:
    """Whether a worker of `role`, or another pod of `LABELS`, is selected; a selector that this does not understand fails the test."""
    labels = LABELS.get(role) or {"notify-streams/role": role, "app.kubernetes.io/component": "worker"}
    if not selector.keys() <= {"matchLabels", "matchExpressions"}:
        raise AssertionError(selector)
    expressions = selector.get("matchExpressions", ())
    assert all(one["operator"] == "In" for one in expressions)
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        labels.get(one["key"]) in one["values"] for one in expressions
    )


def ways(documents: list[Document], role: str) -> set[Way]:
    """Every address block that a worker of `role` may speak to."""
    return {
        Way(
            ip_network(peer["ipBlock"]["cidr"]),
            tuple(map(ip_network, peer["ipBlock"].get("except", ()))),
            port["port"],
        )
        for policy in policies(documents).values()
        if applies(policy["podSelector"], role)
        for rule in policy.get("egress", ())
        for peer in rule["to"]
        if "ipBlock" in peer
        for port in rule["ports"]
    }


def own_network(documents: list[Document]) -> Network:
    (cidr,) = {peer["ipBlock"]["cidr"] for rule in policies(documents)["own-region"]["egress"] for peer in rule["to"]}
    return ip_network(cidr)


def test_what_no_policy_allows_is_denied(documents: list[Document]) -> None:
    nothing = policies(documents)["nothing"]
    assert nothing == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert all(rule["to"] and rule["ports"] for one in policies(documents).values() for rule in one.get("egress", ()))


def test_each_region_has_a_network_of_its_own(region_build: RegionBuild) -> None:
    networks = [own_network(region_build(region)) for region in REGIONS]
    assert not any(one.overlaps(other) for one, other in combinations(networks, 2))


@pytest.mark.parametrize("role", ROLES)
def test_only_the_forward_role_speaks_to_another_region_and_only_to_its_kafka(
    region: str, role: str, region_build: RegionBuild
) -> None:
    others = {own_network(region_build(other)) for other in REGIONS if other != region}
    reached = {
        (other, way.port)
        for way in ways(region_build(region), role)
        for other in others
        if way.network.version == other.version
        and way.network.overlaps(other)
        and not any(other.subnet_of(but) for but in way.but)  # type: ignore[arg-type]
    }
    assert reached == ({(other, KAFKA) for other in others} if role == "forward" else set())


@pytest.mark.parametrize("role", ROLES)
def test_every_role_reaches_the_services_that_its_region_s_settings_name(
    region: str, role: str, documents: list[Document]
) -> None:
    settings = load_settings(region, environ={}, config_dir=PROJECT / "config")
    uris = [f"kafka://{server}" for server in settings.kafka.split(",")] + [*settings.shards, settings.redis]
    wanted = {urlsplit(uri).port for uri in uris}
    assert wanted == {way.port for way in ways(documents, role) if way.network == own_network(documents)}
    assert {urlsplit(f"kafka://{server}").port for server in settings.remote_kafka.values()} == {KAFKA}


async def test_the_job_needs_the_services_of_its_region_only(
    region: str, documents: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = (one["spec"]["template"] for one in documents if one["kind"] == "Job")
    assert LABELS[PREPARE].items() <= job["metadata"]["labels"].items()
    assert {way.network for way in ways(documents, PREPARE)} == {own_network(documents), NO_ONE}
    assert job["spec"]["serviceAccountName"] == "worker", "which has no identity in AWS"
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    await create_registry(load_settings(region, environ={}, config_dir=PROJECT / "config"))


def test_the_public_network_is_for_those_who_call_providers_and_the_registry(documents: list[Document]) -> None:
    public = {
        role: {(way.network.version, way.port) for way in ways(documents, role) if way.network.prefixlen == 0}
        for role in ROLES
    }
    mail = {"email", "cric_email"}
    for role, reached in public.items():
        # SES is https as the others are.
        ports = {25, 465, 587, 443} if role in mail else {443}
        allowed = ports if role in {*CHANNEL_ROLES, "registry", "views", "webhooks"} else set()
        assert reached == {(version, port) for version in (4, 6) for port in allowed}, role
        for way in ways(documents, role):
            if way.network.prefixlen == 0:
                assert {*map(str, way.but)} == {*PRIVATE[way.network.version]}, (
                    "a way around the policies of the regions"
                )


def test_the_operator_reaches_what_commands_ask_and_no_worker_reaches_more(
    region: str, build_with: Callable[..., list[Document]], region_build: RegionBuild
) -> None:
    documents = build_with(region, "operator")
    pod = next(one for one in documents if (one["kind"], one["metadata"]["name"]) == ("Deployment", OPERATOR))
    assert LABELS[OPERATOR].items() <= pod["spec"]["template"]["metadata"]["labels"].items()
    reached = ways(documents, OPERATOR)
    for other in REGIONS:
        network = own_network(region_build(other))
        assert {way.port for way in reached if way.network == network} == {KAFKA, 27017, 6379}, other
    assert {way.port for way in reached if way.network.prefixlen == 0} == {443, 25, 465, 587}
    (asked,) = policies(documents)["operator-workers"]["egress"]
    (entry,) = policies(documents)["views"]["ingress"]
    assert {"podSelector": {"matchLabels": {"notify-streams/role": OPERATOR}}} in entry["from"]
    assert asked == policies(documents)["page"]["egress"][0]
    assert all(ways(documents, role) == ways(region_build(region), role) for role in ROLES)


def test_names_are_resolved_by_the_cluster_alone(documents: list[Document]) -> None:
    (rule,) = policies(documents)["names"]["egress"]
    assert {(port["protocol"], port["port"]) for port in rule["ports"]} == {("UDP", 53), ("TCP", 53)}
    assert [*rule["to"][0]] == ["namespaceSelector", "podSelector"], "both in one peer: that namespace's resolver only"


def test_the_views_are_for_the_cluster_and_only_for_those_it_lets_in(documents: list[Document]) -> None:
    assert not [one for one in documents if one["kind"] in ("Ingress", "HTTPRoute", "Gateway")]
    services = {one["metadata"]["name"]: one["spec"] for one in documents if one["kind"] == "Service"}
    service = services.pop("views")
    webhooks = services.pop("webhooks")
    assert webhooks["publishNotReadyAddresses"], "a STOP is taken while Redis or one shard is down"
    assert not services and service["type"] == "ClusterIP"
    assert service["selector"] == {"notify-streams/role": "views"}, "the other roles serve no page"
    assert service["publishNotReadyAddresses"], "the page shows what is not ready"
    (entry,) = policies(documents)["views"]["ingress"]
    page = {"matchLabels": {"notify-streams/role": "views"}}
    assert entry["from"] == [
        {"namespaceSelector": {"matchLabels": {"notify-streams/views": "allowed"}}},
        {"podSelector": page},
    ]
    asked = policies(documents)["page"]
    assert asked["podSelector"] == page and asked["egress"][0]["ports"] == entry["ports"]
    (port,) = entry["ports"]
    assert port["port"] == service["ports"][0]["targetPort"] == "web"


def test_only_the_webhooks_are_for_the_ingress_controller(documents: list[Document]) -> None:
    found = {name: one["ingress"] for name, one in policies(documents).items() if one.get("ingress")}
    assert found.keys() == {"views", "webhooks"}
    assert policies(documents)["webhooks"]["podSelector"] == {"matchLabels": {"notify-streams/role": "webhooks"}}
    (entry,) = found["webhooks"]
    assert entry["from"] == [{"namespaceSelector": {"matchLabels": {"notify-streams/ingress": "allowed"}}}]


def test_the_example_of_an_ingress_lets_only_public_paths_through(validate: Callable[[Document], object]) -> None:
    ingress = yaml.safe_load((PROJECT / "k8s" / "examples" / "ingress.yaml").read_text())
    validate(ingress)
    (rule,) = ingress["spec"]["rules"]
    assert {path["backend"]["service"]["name"] for path in rule["http"]["paths"]} == {"webhooks"}
    allowed = {path["path"] for path in rule["http"]["paths"]}
    assert {path["pathType"] for path in rule["http"]["paths"]} == {"Prefix"}
    assert not [path for path in PUBLIC_VIEWS if not path.startswith(tuple(allowed))]
    assert not [path for path in WORKER_VIEWS for prefix in allowed if path.startswith(prefix)]


def test_networks_ports_and_address_families_are_parameters(
    tmp_path: Path, build: Callable[[Path], list[Document]], validate: Callable[[Document], object]
) -> None:
    for folder in ("k8s", "config"):
        shutil.copytree(PROJECT / folder, tmp_path / folder)
    file = tmp_path / "k8s" / "overlays" / "us" / "region.yaml"
    parameters = yaml.safe_load(file.read_text())
    resolver = [{"to": [{"ipBlock": {"cidr": "fd00::a/128"}}], "ports": [{"protocol": "UDP", "port": 5353}]}]
    kafka = [{"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kafka"}}}],
              "ports": [{"protocol": "TCP", "port": 9093}]}]  # fmt: skip
    collector, tokens = (
        [{"to": [{"ipBlock": {"cidr": "10.10.7.0/24"}}], "ports": [{"protocol": "TCP", "port": port}]}]
        for port in (4318, 8443)
    )
    parameters["spec"] |= {
        "ipFamilyPolicy": "SingleStack",
        "webHost": "::",
        "names": resolver,
        "ownRegion": kafka,
        "otherRegions": kafka,
        "publicHttps": resolver,
        "mail": kafka,
        "tracing": collector,
        "kafkaTokens": tokens,
        "operator": kafka,
    }
    file.write_text(yaml.safe_dump(parameters))
    documents = build(file.parent)
    for document in documents:
        validate(document)
    egress = {name: one["egress"] for name, one in policies(documents).items() if "egress" in one}
    assert egress.pop("page")
    assert egress == {
        "names": resolver,
        "own-region": kafka,
        "other-regions": kafka,
        "public-https": resolver,
        "mail": kafka,
        "tracing": collector,
        "kafka-tokens": tokens,
    }
    for role in ROLES:
        found = [one for one in ways(documents, role) if one.network == ip_network("10.10.7.0/24")]
        assert sorted(one.port for one in found) == [4318, 8443], role
    assert applies(policies(documents)["kafka-tokens"]["podSelector"], PREPARE), "it logs in to Kafka"
    assert {one["spec"]["ipFamilyPolicy"] for one in documents if one["kind"] == "Service"} == {"SingleStack"}
    (environment,) = (one["data"] for one in documents if one["metadata"]["name"].startswith("environment-"))
    assert environment["NOTIFY_WEB_HOST"] == "::"
