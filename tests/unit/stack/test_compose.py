"""`compose.yaml`: services, images, ports, settings."""

import re
import shutil
import subprocess
from typing import Any

import msgspec
import pytest
import yaml

from devtools.stack.nginx import TEMPLATE
from devtools.stack.paths import PROJECT
from notify_streams.settings import load_settings

FILE = PROJECT / "compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
#: Containers that end when their work is done.
JOBS = {"mongo-replica-sets", "mongo-shards"}
OFFICIAL = re.compile(
    r"^(apache/kafka:4\.1\.1|mongo:8\.\d+|valkey/valkey:[\d.]+|amazon/dynamodb-local:[\d.]+|nginx:[\d.]+)$"
)


def test_it_has_the_services_of_the_stack() -> None:
    mongo = {"mongo-config", "mongo-shard-0", "mongo-shard-1", "mongos"}
    assert mongo | JOBS | {"kafka", "valkey", "dynamodb", "edge"} == SERVICES.keys()


@pytest.mark.parametrize("name", SERVICES)
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
    assert published.keys() == {"kafka", "mongos", "valkey", "dynamodb", "edge"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_every_volume_and_every_dependency_exists() -> None:
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())}
    assert {volume for volume in used if not volume.startswith(".")} == COMPOSE["volumes"].keys()
    assert all((PROJECT / path).is_file() for path in used if path.startswith("."))
    for service in SERVICES.values():
        assert service.get("depends_on", {}).keys() <= SERVICES.keys()


def test_the_edge_has_every_variable_of_its_template() -> None:
    assert {*re.findall(r"\$\{(\w+)\}", TEMPLATE.read_text())} == SERVICES["edge"]["environment"].keys()


def test_compose_env_loads_as_settings_and_names_the_published_ports() -> None:
    done = subprocess.run(
        ["bash", "-c", "set -a; . ./compose.env; env -0"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        env={},
        check=True,
    )
    environment = dict(line.split("=", 1) for line in done.stdout.split("\0") if line.startswith("NOTIFY_"))
    settings = load_settings("us", environ=environment, config_dir=PROJECT / "config")
    named = {
        str(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", msgspec.json.encode(settings, enc_hook=str).decode())
    }
    published = {port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", ())}
    assert named == published


if shutil.which("docker") and subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:

    def test_docker_accepts_it() -> None:
        subprocess.run(["docker", "compose", "-f", str(FILE), "config", "--quiet"], check=True, cwd=PROJECT)
