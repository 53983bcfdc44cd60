"""Services outside the stack: named by the environment, never stopped or killed."""

from pathlib import Path

import pytest

from devtools.stack import Stack, StackFailed
from devtools.stack.external_services import ExternalService, external_uris


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({}, {}),
        ({"NOTIFY_KAFKA": ""}, {}),
        ({"NOTIFY_KAFKA": "kafka.example:9092"}, {"kafka": ("kafka.example:9092",)}),
        ({"NOTIFY_SHARDS": "mongodb://a:1,b:2/?replicaSet=x"}, {"shards": ("mongodb://a:1,b:2/?replicaSet=x",)}),
        ({"NOTIFY_SHARDS": '["mongodb://a:1/", "mongodb://b:2/"]'}, {"shards": ("mongodb://a:1/", "mongodb://b:2/")}),
    ],
    ids=["none", "empty", "kafka", "one shard", "two shards"],
)
def test_the_environment_names_services(environment: dict[str, str], named: dict[str, tuple[str, ...]]) -> None:
    assert external_uris(environment) == named


def test_an_external_service_cannot_be_killed_and_stop_does_nothing(tmp_path: Path) -> None:
    service = ExternalService("us/kafka", tmp_path, "kafka.example:9092", lambda address: True)
    assert service.start() is False
    service.stop()
    for act in (service.kill, service.pause, service.resume):
        with pytest.raises(StackFailed, match="is external"):
            act()


def test_an_external_service_can_be_used_for_one_region_only(tmp_path: Path) -> None:
    with pytest.raises(StackFailed, match="NOTIFY_KAFKA can be used for one region only"):
        Stack(tmp_path, {"NOTIFY_KAFKA": "kafka.example:9092"}).up(["us", "eu"])
