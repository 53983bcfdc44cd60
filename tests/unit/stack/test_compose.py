"""`compose.yaml`: services, images, ports, settings. No daemon reads it here."""

import inspect
import re
import shutil
import subprocess
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
import yaml

from devtools import subprocesses
from devtools.stack.nginx import TEMPLATE
from devtools.stack.paths import PROJECT
from notify_streams.app import web_port
from notify_streams.roles import CHANNELS, VIEWS, WEBHOOKS
from notify_streams.secret import Secret
from notify_streams.settings import Settings, load_settings

FILE = PROJECT / "compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
#: Containers that end when their work is done.
JOBS = {"mongo-replica-sets", "mongo-shards"}
#: Containers of the image that is built.
OURS = {"sandbox", "workers"}
OFFICIAL = re.compile(
    r"^(apache/kafka:4\.1\.1|mongo:8\.\d+|valkey/valkey:[\d.]+|amazon/dynamodb-local:[\d.]+|nginx:[\d.]+)$"
)


def test_it_has_the_services_of_the_stack() -> None:
    mongo = {"mongo-config", "mongo-shard-0", "mongo-shard-1", "mongos"}
    assert mongo | JOBS | OURS | {"kafka", "valkey", "dynamodb", "edge"} == SERVICES.keys()


def test_our_containers_are_of_the_image_with_the_tools() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)", (PROJECT / "Dockerfile").read_text(), re.M)
    for name in OURS:
        assert SERVICES[name]["build"] == {"context": ".", "target": "dev"} and "dev" in stages


def test_every_job_is_waited_for() -> None:
    """`up --wait` exits 1 when a container ends on which no other one depends."""
    for job in JOBS:
        waiting = [one["depends_on"][job] for one in SERVICES.values() if job in one.get("depends_on", {})]
        assert waiting == [{"condition": "service_completed_successfully"}]


def test_the_workers_wait_for_every_service_that_they_use() -> None:
    used = SERVICES.keys() - JOBS - {"workers", "mongo-config", "mongo-shard-0", "mongo-shard-1", "mongos"}
    assert used | {"mongo-shards"} == SERVICES["workers"]["depends_on"].keys()


def test_kafka_keeps_its_records_in_the_volume() -> None:
    (volume,) = SERVICES["kafka"]["volumes"]
    assert volume == f"kafka:{SERVICES['kafka']['environment']['KAFKA_LOG_DIRS']}"


def test_the_workers_have_the_time_that_run_gives_them() -> None:
    """Docker kills the whole container after it, with what is in flight."""
    given_s = inspect.signature(subprocesses.stop).parameters["grace_s"].default
    assert int(SERVICES["workers"]["stop_grace_period"].removesuffix("s")) > given_s


def test_redis_drops_no_lease() -> None:
    command = SERVICES["valkey"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"


def of_compose_env() -> dict[str, str]:
    done = subprocess.run(
        ["bash", "-c", "set -a; . ./compose.env; env -0"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        env={},
        check=True,
    )
    return dict(line.split("=", 1) for line in done.stdout.split("\0") if line.startswith("NOTIFY_"))


def of_the_workers() -> Settings:
    own = SERVICES["workers"]["environment"]
    environ = of_compose_env() | {name: re.sub(r"\$\{\w+:-(.*?)\}", r"\1", text) for name, text in own.items()}
    return load_settings("us", environ=environ, config_dir=PROJECT / "config")


def test_the_workers_reach_services_by_their_names() -> None:
    settings = of_the_workers()
    named = [settings.kafka, *settings.shards, settings.redis, settings.dynamodb, settings.edge[0].url]
    assert [urlsplit(one if "//" in one else f"//{one}").hostname for one in named if one] == [
        *("kafka", "mongos", "valkey", "dynamodb", "edge")
    ]
    assert settings.edge[0].token == Secret(of_the_edge("EDGE_TOKEN"))


def of_the_edge(name: str) -> str:
    return str(SERVICES["edge"]["environment"][name]).partition(":-")[2].rstrip("}")


def test_no_message_leaves_the_sandbox() -> None:
    """The workers share its network, so its addresses are theirs; every channel is the sandbox's."""
    assert SERVICES["workers"]["network_mode"] == "service:sandbox"
    providers = of_the_workers().providers
    assert providers.sandbox_channels() == set(CHANNELS)
    command = SERVICES["sandbox"]["command"]
    ports = {option: command[command.index(option) + 1] for option in ("--http-port", "--smtp-port")}
    assert {urlsplit(one).port for one in (providers.fcm, providers.twilio)} == {int(ports["--http-port"])}
    assert urlsplit(providers.smtp).port == int(ports["--smtp-port"])


def test_no_message_leaves_workers_on_the_host_either() -> None:
    """With `compose.env` alone, as a reader starts them who has sourced it."""
    settings = load_settings("us", environ=of_compose_env(), config_dir=PROJECT / "config")
    assert settings.providers.sandbox_channels() == set(CHANNELS)


def test_the_workers_wait_for_no_other_region() -> None:
    """They would never be ready: a region that names others reads the control logs of a majority before it serves."""
    on_the_host = load_settings("us", environ=of_compose_env(), config_dir=PROJECT / "config")
    assert of_the_workers().remote_kafka == on_the_host.remote_kafka == {}


def test_what_is_awaited_as_healthy_says_whether_it_is() -> None:
    """Compose refuses to start what depends on the health of a service without a check."""
    conditions = {"service_healthy": 0, "service_completed_successfully": 0}
    for service in SERVICES.values():
        for name, wanted in service.get("depends_on", {}).items():
            conditions[wanted["condition"]] += 1
            assert (wanted["condition"] == "service_healthy") == ("healthcheck" in SERVICES[name])
    assert all(conditions.values())


def test_the_readme_says_how_to_start_it() -> None:
    assert "docker compose up --wait" in (PROJECT / "README.md").read_text()
    assert FILE.read_text().partition("name:")[0].count("docker compose up --wait") == 1


def test_the_pages_are_published_and_asked_for_health() -> None:
    settings = of_the_workers()
    pages = {web_port(settings, role) for role in (VIEWS, WEBHOOKS)}
    published = {int(port.rpartition(":")[2]) for port in SERVICES["sandbox"]["ports"]}
    assert pages <= published and settings.web_host == "0.0.0.0"
    assert urlsplit(SERVICES["workers"]["environment"]["HEALTH"]).port == web_port(settings, VIEWS)


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - OURS))
def test_a_service_has_an_official_pinned_image_and_a_health_check(name: str) -> None:
    service = SERVICES[name]
    assert OFFICIAL.match(service["image"])
    assert name in JOBS or service["healthcheck"]["test"]
    assert service.keys() <= {
        *("image", "command", "entrypoint", "environment", "depends_on", "ports", "volumes", "tmpfs", "user"),
        *("healthcheck", "extra_hosts"),
    }


def test_ports_are_published_on_the_loopback_only() -> None:
    published = {name: ports for name, service in SERVICES.items() if (ports := service.get("ports"))}
    assert published.keys() == {"kafka", "mongos", "valkey", "dynamodb", "edge", "sandbox"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_the_sandbox_shows_what_people_got_to_a_browser_outside_of_the_container() -> None:
    """For it every client has the address of the network's gateway; that the port is published on the loopback is the protection."""
    assert "--any-client" in SERVICES["sandbox"]["command"]


def test_the_edge_asks_the_views_by_a_name_that_it_can_look_up() -> None:
    """Where Docker is no virtual machine, a container does not reach what is published on the host's loopback."""
    host, _, port = of_the_edge("EDGE_ORIGIN").partition(":")
    assert f"service:{host}" == SERVICES["workers"]["network_mode"]
    assert int(port) == web_port(of_the_workers(), VIEWS)
    assert SERVICES["edge"]["depends_on"][host]["condition"] == "service_healthy"


def test_every_volume_and_every_dependency_exists() -> None:
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())}
    assert {volume for volume in used if not volume.startswith(".")} == COMPOSE["volumes"].keys()
    assert all((PROJECT / path).exists() for path in used if path.startswith("."))
    for service in SERVICES.values():
        assert service.get("depends_on", {}).keys() <= SERVICES.keys()


def test_the_edge_has_every_variable_of_its_template() -> None:
    assert {*re.findall(r"\$\{(\w+)\}", TEMPLATE.read_text())} == SERVICES["edge"]["environment"].keys()


def test_compose_env_loads_as_settings_and_names_the_published_ports() -> None:
    environment = of_compose_env()
    settings = load_settings("us", environ=environment, config_dir=PROJECT / "config")
    named = {
        str(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", msgspec.json.encode(settings, enc_hook=str).decode())
    }
    published = {port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", ())}
    pages = {str(web_port(settings, role)) for role in (VIEWS, WEBHOOKS)}
    assert named | pages == published


if shutil.which("docker") and subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:

    def test_docker_accepts_it() -> None:
        subprocess.run(["docker", "compose", "-f", str(FILE), "config", "--quiet"], check=True, cwd=PROJECT)
