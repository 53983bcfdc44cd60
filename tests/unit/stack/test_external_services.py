"""Services that somebody else runs are named by the environment, and never hurt."""

from pathlib import Path

import pytest

from devtools.stack import Stack, StackFailed
from devtools.stack.external_services import ExternalService, named_in


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
    assert named_in(environment) == named


def test_a_service_elsewhere_is_not_hurt_and_stopping_leaves_it_alone(tmp_path: Path) -> None:
    service = ExternalService("us/kafka", tmp_path, "kafka.example:9092", lambda address: True)
    assert service.start() is False
    service.stop()
    for hurt in (service.kill, service.pause):
        with pytest.raises(StackFailed, match="not ours"):
            hurt()


def test_one_address_cannot_stand_for_two_regions(tmp_path: Path) -> None:
    with pytest.raises(StackFailed, match="NOTIFY_KAFKA can stand for one region only"):
        Stack(tmp_path, {"NOTIFY_KAFKA": "kafka.example:9092"}).up(["us", "eu"])
