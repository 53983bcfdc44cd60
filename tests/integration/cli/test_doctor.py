"""`doctor` on real services without workers."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from click.testing import CliRunner

from devtools.stack import Stack
from devtools.stack.paths import PROJECT
from notify_streams.cli.main import main
from notify_streams.settings import load_settings
from notify_streams.stores.redis import connect
from notify_streams.worker_registration import key_of

pytestmark = pytest.mark.stack


@pytest.fixture(autouse=True)
def topics(stack: Stack) -> None:
    environ = {"NOTIFY_STACK_DIR": str(stack.folder), "NOTIFY_CONFIG_DIR": str(PROJECT / "config")}
    assert CliRunner().invoke(main, ["topics", "ensure"], env=environ).exit_code == 0


@pytest.fixture(autouse=True)
def no_workers(stack: Stack) -> None:
    """Other tests of the stack leave registrations of workers that have ended."""

    async def forget() -> None:
        async with connect(load_settings("us", environ={}, overlay=stack.settings_file("us"))).client() as redis:
            await redis.delete(key_of("us"))

    asyncio.run(forget())


def examined(stack: Stack, **but: str) -> dict[str, dict[str, Any]]:
    """The findings by what they are about; of several, one that is wrong."""
    environ = {"NOTIFY_STACK_DIR": str(stack.folder), "NOTIFY_CONFIG_DIR": str(PROJECT / "config"), **but}
    done = CliRunner().invoke(main, ["doctor", "--json"], env=environ)
    assert done.exit_code == 1, "there are no workers"
    checks = json.loads(done.stdout)["checks"]
    return {one["about"]: one for one in sorted(checks, key=lambda one: not one["ok"])}


def named(found: dict[str, dict[str, Any]], words: str) -> dict[str, Any]:
    return next((one for about, one in found.items() if about.startswith(words)), {"found": list(found.values())})


def test_services_clocks_topics_and_texts_hold_and_absent_workers_are_named(stack: Stack) -> None:
    found = examined(stack)
    for words in ("Kafka at", "MongoDB shard 0", "Redis at", "clock of shard 0", "topics", "categories"):
        assert named(found, words)["ok"], named(found, words)
    assert named(found, "role standard")["text"] == "No worker of the role standard is running."


def test_the_time_zone_of_the_machine_is_no_fault_of_a_clock(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as environ:
        environ.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        found = examined(stack)
    time.tzset()
    clock = named(found, "clock of shard 0")
    assert clock["ok"], clock


@pytest.mark.parametrize(
    ("setting", "value", "words", "todo"),
    [
        ("NOTIFY_REDIS", "redis://127.0.0.1:1/0", "Redis at redis://127.0.0.1:1/0", "notifyredissilent"),
        ("NOTIFY_PARTITIONS", "9", "topics", "topics ensure"),
        ("NOTIFY_KAFKA", "127.0.0.1:1", "Kafka at 127.0.0.1:1", "notifykafkasilent"),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(stack: Stack, setting: str, value: str, words: str, todo: str) -> None:
    found = named(examined(stack, **{setting: value}), words)
    assert not found["ok"] and todo in found["todo"], found
