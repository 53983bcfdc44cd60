"""Who may speak to whom: worked out from the NetworkPolicies of each overlay as the cluster would."""

from collections.abc import Callable
from ipaddress import IPv4Network, ip_network
from itertools import combinations
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import yaml

from devtools.stack.paths import PROJECT
from notify_streams.public import PUBLIC_VIEWS
from notify_streams.roles import CHANNEL_ROLES, ROLES
from notify_streams.settings import load_settings
from notify_streams.web import WORKER_VIEWS

Document = dict[str, Any]
RegionBuild = Callable[[str], list[Document]]

KAFKA = 9092
REGIONS = ("us", "eu", "asia")
PRIVATE = [
    IPv4Network(net) for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10")
]


class Way(NamedTuple):
    """An address block that pods may speak to, what is not of it, and on which port."""

    network: IPv4Network
    but: tuple[IPv4Network, ...]
    port: int


def policies(documents: list[Document]) -> dict[str, Document]:
    return {one["metadata"]["name"]: one["spec"] for one in documents if one["kind"] == "NetworkPolicy"}


def applies(selector: Document, role: str) -> bool:
    """Whether a worker of `role` is selected; a selector that this does not understand fails the test."""
    labels = {"notify-streams/role": role, "app.kubernetes.io/component": "worker"}
    if not selector.keys() <= {"matchLabels", "matchExpressions"}:
        raise AssertionError(selector)
    expressions = selector.get("matchExpressions", ())
    assert all(one["operator"] == "In" for one in expressions)
    return all(labels[key] == value for key, value in selector.get("matchLabels", {}).items()) and all(
        labels[one["key"]] in one["values"] for one in expressions
    )


def ways(documents: list[Document], role: str) -> set[Way]:
    """Every address block that a worker of `role` may speak to."""
    return {
        Way(
            IPv4Network(peer["ipBlock"]["cidr"]),
            tuple(map(IPv4Network, peer["ipBlock"].get("except", ()))),
            port["port"],
        )
        for policy in policies(documents).values()
        if applies(policy["podSelector"], role)
        for rule in policy.get("egress", ())
        for peer in rule["to"]
        if "ipBlock" in peer
        for port in rule["ports"]
    }


def own_network(documents: list[Document]) -> IPv4Network:
    (peer,) = policies(documents)["own-region"]["egress"][0]["to"]
    return IPv4Network(peer["ipBlock"]["cidr"])


def test_what_no_policy_allows_is_denied(documents: list[Document]) -> None:
    nothing = policies(documents)["nothing"]
    assert nothing == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert all(rule["to"] and rule["ports"] for one in policies(documents).values() for rule in one.get("egress", ()))


def test_each_region_has_a_network_of_its_own(region_build: RegionBuild) -> None:
    networks = [own_network(region_build(region)) for region in REGIONS]
    assert not any(one.overlaps(other) for one, other in combinations(networks, 2))
    documentation = [ip_network(net) for net in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")]
    assert not {*networks} & {*documentation}, "the base's place-holder was not replaced"


@pytest.mark.parametrize("role", ROLES)
def test_only_the_forward_role_speaks_to_another_region_and_only_to_its_kafka(
    region: str, role: str, region_build: RegionBuild
) -> None:
    others = {own_network(region_build(other)) for other in REGIONS if other != region}
    reached = {
        (other, way.port)
        for way in ways(region_build(region), role)
        for other in others
        if way.network.overlaps(other) and not any(other.subnet_of(but) for but in way.but)
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


def test_the_public_network_is_for_those_who_call_providers_and_the_registry(documents: list[Document]) -> None:
    public = {
        role: {way.port for way in ways(documents, role) if way.network == IPv4Network("0.0.0.0/0")} for role in ROLES
    }
    mail = {"email", "cric_email"}
    for role, ports in public.items():
        if role in mail:
            assert ports == {25, 465, 587}
        else:
            assert ports == ({443} if role in {*CHANNEL_ROLES, "registry", "views", "webhooks"} else set()), role
        for way in ways(documents, role):
            if way.network.prefixlen == 0:
                assert {*way.but} == {*PRIVATE}, "a way around the policies of the regions"


def test_names_are_resolved_by_the_cluster_alone(documents: list[Document]) -> None:
    (rule,) = policies(documents)["names"]["egress"]
    assert {(port["protocol"], port["port"]) for port in rule["ports"]} == {("UDP", 53), ("TCP", 53)}
    assert [*rule["to"][0]] == ["namespaceSelector", "podSelector"], "both in one peer: that namespace's resolver only"


def test_the_views_are_for_the_cluster_and_only_for_those_it_lets_in(documents: list[Document]) -> None:
    assert not [one for one in documents if one["kind"] in ("Ingress", "HTTPRoute", "Gateway")]
    services = {one["metadata"]["name"]: one["spec"] for one in documents if one["kind"] == "Service"}
    service, workers = services.pop("views"), services.pop("workers")
    assert services.keys() == {"webhooks"} and service["type"] == "ClusterIP"
    assert service["selector"] == {"notify-streams/role": "views"}, "the other roles serve no page"
    assert workers["clusterIP"] == "None", "a name with the address of each worker"
    assert service["publishNotReadyAddresses"] and workers["publishNotReadyAddresses"], (
        "the page shows what is not ready"
    )
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
