"""`doctor` ends soon and names each service, also if none of them answers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from devtools.stack.paths import PROJECT
from notify_streams.secret import Secret
from notify_streams.settings import Settings
from notify_streams.settings_providers import ProviderSettings
from notify_streams.web.doctor import Finding, examine
from tests.unit.web.conftest import NOWHERE

#: All checks end within 10 s. A busy machine is late.
ENDS_S = 14.0
SERVICES = ("Kafka at", "MongoDB shard 0", "MongoDB shard 1", "Redis at", "DynamoDB at")


@asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """The address of a server that accepts connections and never answers, as a process after SIGSTOP."""
    ended = asyncio.Event()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ended.wait()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    yield f"{host}:{port}"
    ended.set()
    server.close()


def settings_at(address: str, **services: str) -> Settings:
    """Of a region whose services are all at `address`, but for `services`."""
    at = dict.fromkeys(("kafka", "shard_0", "shard_1", "redis", "dynamodb", "fcm"), address) | services
    return Settings(
        region="us",
        kafka=at["kafka"],
        shards=tuple(f"mongodb://{at[name]}/?directConnection=true" for name in ("shard_0", "shard_1")),
        redis=f"redis://{at['redis']}/0",
        dynamodb=f"http://{at['dynamodb']}",
        providers=ProviderSettings(fcm=f"http://{at['fcm']}"),
        partitions=6,
        replication=1,
    )


@pytest.fixture(autouse=True)
def config_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_CONFIG_DIR", str(PROJECT / "config"))


async def examined(settings: Settings) -> tuple[Mapping[str, Finding], Mapping[str, float]]:
    """The findings by what they are about, and when each was reported: seconds."""
    began = time.monotonic()
    reported: dict[str, float] = {}

    def report(one: Finding) -> None:
        reported[one.about] = time.monotonic() - began

    found = await examine(settings, report)
    assert time.monotonic() - began < ENDS_S
    assert [one.about for one in found] == list(reported)
    return {one.about: one for one in found}, reported


def about(found: Mapping[str, Any], words: str) -> str:
    (name,) = (name for name in found if name.startswith(words))
    return name


async def test_services_that_never_answer_are_all_named_and_none_waits_for_another() -> None:
    async with silent() as address:
        found, reported = await examined(settings_at(address, redis=NOWHERE))
    for words in SERVICES:
        assert not found[about(found, words)].ok
    assert reported[about(found, "Redis at")] < reported[about(found, "Kafka at")]
    assert "topics" not in found, "Kafka does not answer"
    assert found["workers"].text == "are not known, because Redis does not answer"
    assert found["credential 1 of fcm (push)"].text.startswith("fcm does not respond within 3 s")
    # Its credential is not what is wrong: it need not be replaced.
    assert "file" not in found["credential 1 of fcm (push)"].todo
    assert found["credential 1 of fcm (push)"].todo.endswith("docs/runbooks.md#notifyproviderstopped")
    assert list(found)[-1] == "categories and templates" and found["categories and templates"].ok


async def test_what_a_provider_refuses_is_a_matter_of_its_credential() -> None:
    settings = settings_at(NOWHERE)
    wrong = msgspec.structs.replace(settings.providers, fcm_service_account=Secret("no key"))
    found, _ = await examined(msgspec.structs.replace(settings, providers=wrong))
    one = found["credential 1 of fcm (push)"]
    assert "does not respond" not in one.text
    assert "within 5 s" in one.todo and one.todo.endswith("docs/runbooks.md#notifycredentialrefused")


async def test_the_clock_of_a_shard_that_does_not_answer_is_not_known() -> None:
    found, _ = await examined(settings_at(NOWHERE))
    for shard in ("shard 0", "shard 1"):
        assert found[f"clock of {shard}"] == Finding(
            f"clock of {shard}", False, f"is not known, because {shard} does not answer", f"bring {shard} back"
        )
    assert found[about(found, "MongoDB shard 0")].text.startswith(f"MongoDB shard 0 at mongodb://{NOWHERE}/")


async def test_dynamodb_that_answers_is_up() -> None:
    targets: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        targets.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\nConnection: close\r\n\r\n{"TableNames":[]}')
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        found, _ = await examined(settings_at(NOWHERE, dynamodb=f"{host}:{port}"))
    assert found[f"DynamoDB at http://{host}:{port}"] == Finding(f"DynamoDB at http://{host}:{port}", True, "answers")
    assert "X-Amz-Target: DynamoDB_20120810.ListTables" in targets[0]


def test_it_loads_neither_faust_nor_botocore() -> None:
    """They take half of the CPU of a start; a machine whose services are down is busy."""
    program = "import sys, notify_streams.cli.doctor, notify_streams.web.doctor; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"faust", "botocore", "aiobotocore", "lmdb", "httpx"} & set(done.stdout.split())
