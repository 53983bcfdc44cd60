"""The command line as its users have it: real processes, one JSON object on stdout, an exit status that means something."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from devtools.stack.paths import PROJECT
from tests.builders import trigger_json
from tests.e2e.processes import end_with, until
from tests.e2e.running_region import CROWD, RegionAtWork, a_new_id, known

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="session")]


async def test_send_reads_triggers_from_standard_input(region_at_work: RegionAtWork) -> None:
    ids = [a_new_id("stdin") for _ in CROWD]
    lines = [trigger_json(id=identity, user_id=user_id) for identity, user_id in zip(ids, CROWD, strict=True)]
    done = await region_at_work.cli("send", "-", "--json", stdin=b"\n".join([*lines, b"", b""]))
    assert (done.status, done.json) == (0, {"sent": len(CROWD)}), done.err
    await region_at_work.closed()
    assert all(region_at_work.channels(identity) == ["email", "push"] for identity in ids)


async def test_send_hands_on_what_it_cannot_read_so_that_it_is_accounted_for(
    region_at_work: RegionAtWork, tmp_path: Path
) -> None:
    before = (await region_at_work.closed())["dead_reasons"].get("not_json", 0)
    file = tmp_path / "triggers.jsonl"
    file.write_bytes(b"not JSON\n\xff\xfe\n" + trigger_json(id=a_new_id("file"), user_id="ada"))
    done = await region_at_work.cli("send", str(file), "--json")
    assert (done.status, done.json) == (0, {"sent": 3}), done.err
    assert (await region_at_work.closed())["dead_reasons"]["not_json"] - before == 2


async def test_send_to_a_system_that_there_is_not_names_those_that_there_are(region_at_work: RegionAtWork) -> None:
    done = await region_at_work.cli("send", "-", "--system", "gossip", stdin=b"{}")
    assert (done.status, done.out) == (1, "")
    assert "payments, marketing, security" in done.err and "Traceback" not in done.err


async def test_somebody_who_is_added_can_be_notified(region_at_work: RegionAtWork) -> None:
    user_id = a_new_id("added")
    done = await region_at_work.cli(
        "users", "add", user_id, "--push", "token", "--email", f"{user_id}@example.org", "--json"
    )
    assert (done.status, done.json) == (0, {"user_id": user_id, "home": "us"}), done.err
    await region_at_work.drained()
    await known(region_at_work, user_id)
    identity = await region_at_work.trigger(user_id)
    await region_at_work.closed()
    assert region_at_work.channels(identity) == ["email", "push"]


async def test_contacts_that_no_provider_would_take_are_refused_before_they_are_sent(
    region_at_work: RegionAtWork,
) -> None:
    done = await region_at_work.cli("users", "add", a_new_id("added"), "--sms", "555-1234")
    assert (done.status, done.out) == (1, "")
    assert "sms" in done.err and "Traceback" not in done.err


async def test_somebody_who_moves_is_notified_here_until_their_new_region_has_them(
    region_at_work: RegionAtWork,
) -> None:
    """Region eu is away, so the move and what it needs wait for it; nobody is without notifications meanwhile."""
    user_id = a_new_id("mover")
    await region_at_work.sign_up(user_id)
    await region_at_work.drained()
    await known(region_at_work, user_id)
    done = await region_at_work.cli("users", "move", user_id, "--to", "eu", "--version", "2", "--json")
    assert (done.status, done.json) == (0, {"user_id": user_id, "home": "eu", "version": 2}), done.err
    await region_at_work.drained()
    identity = await region_at_work.trigger(user_id)
    await region_at_work.closed()
    assert region_at_work.channels(identity) == ["email", "push"]
    waiting = [json.loads(value) for value in await region_at_work.values_of("forward.eu", user_id)]
    assert [one["region"] for one in waiting if one.get("version") == 2] == ["eu"]


async def test_nobody_moves_to_a_region_that_there_is_not(region_at_work: RegionAtWork) -> None:
    done = await region_at_work.cli("users", "move", "ada", "--to", "mars", "--version", "2")
    assert (done.status, done.out) == (1, "")
    assert "no region 'mars'; there are us, eu, asia" in done.err


async def test_topics_are_as_they_must_be(region_at_work: RegionAtWork) -> None:
    done = await region_at_work.cli("topics", "check", "--json")
    assert (done.status, done.json) == (0, {"holds": True, "wrong": []}), done.out
    again = await region_at_work.cli("topics", "ensure", "--json")
    assert (again.status, again.json) == (0, {"created": []})


async def test_topics_with_another_partition_count_are_named(region_at_work: RegionAtWork) -> None:
    done = await region_at_work.cli("topics", "check", "--json", NOTIFY_PARTITIONS="16")
    assert (done.status, done.json["holds"]) == (1, False)
    assert any("has 8 partitions, the settings say 16" in one for one in done.json["wrong"])


async def test_good_settings_are_good(region_at_work: RegionAtWork) -> None:
    done = await region_at_work.cli("config", "check", "--json")
    assert (done.status, done.json["holds"], done.json["region"]) == (0, True, "us"), done.err


@pytest.mark.parametrize(
    ("file", "text", "named"),
    [
        ("us.yaml", "region: us\nkafka: [a\nshards: b\n", ("us.yaml", "line 3")),
        ("us.yaml", "region: us\nkafkas: a:1\n", ("us.yaml", "kafkas")),
        ("us.yaml", "- us\n", ("us.yaml", "keys and values")),
        (
            "categories.yaml",
            "payments:\n  number: 1\n  channels: {push: maybe}\n",
            ("categories.yaml", "line 3", "maybe"),
        ),
        ("categories.yaml", "payments: {number: 1\n\tchannels: {}\n", ("categories.yaml", "line 2")),
    ],
    ids=["broken YAML", "an unknown key", "a list", "a default that there is not", "a tab"],
)
async def test_a_broken_file_is_named_with_the_place(
    region_at_work: RegionAtWork, tmp_path: Path, file: str, text: str, named: tuple[str, ...]
) -> None:
    for good in (PROJECT / "config").glob("*.yaml"):
        (tmp_path / good.name).write_text(good.read_text())
    (tmp_path / file).write_text(text)
    done = await region_at_work.cli("config", "check", NOTIFY_CONFIG_DIR=str(tmp_path))
    assert (done.status, done.out) == (1, "")
    assert "Traceback" not in done.err
    assert all(word in done.err for word in named), done.err


async def test_the_stock_faust_command_starts_a_worker_as_well(region_at_work: RegionAtWork, tmp_path: Path) -> None:
    port = region_at_work.free_port()
    faust = str(Path(sys.executable).with_name("faust"))
    environ = region_at_work.environ | {
        "NOTIFY_REGION": "us",
        "NOTIFY_ROLE": "receipts",
        "NOTIFY_WEB_PORT": str(port),
        "NOTIFY_DATA_DIR": str(tmp_path),
    }
    with (tmp_path / "log").open("wb") as log:
        worker = await asyncio.create_subprocess_exec(
            faust, "-A", "notify_streams.app", "worker", "-l", "info", stdout=log, stderr=log, env=environ, cwd=PROJECT
        )

    async def is_ready() -> bool:
        assert worker.returncode is None, (tmp_path / "log").read_text()
        try:
            async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/ready") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    try:
        await until(is_ready, "the worker is ready")
        assert await end_with(worker, signal.SIGTERM, patience_s=60) == 0
    finally:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"NOTIFY_REGION": "us"}, "NOTIFY_REGION and NOTIFY_ROLE must say which worker this is"),
        ({"NOTIFY_REGION": "us", "NOTIFY_ROLE": "cook"}, "there is no role 'cook'"),
        ({"NOTIFY_REGION": "mars", "NOTIFY_ROLE": "push"}, "mars.yaml"),
    ],
    ids=["no role", "a role that there is not", "a region that there is not"],
)
async def test_the_stock_faust_command_is_told_what_is_missing(
    region_at_work: RegionAtWork, environ: dict[str, str], sentence: str
) -> None:
    program = [str(Path(sys.executable).with_name("faust")), "-A", "notify_streams.app", "worker"]
    process = await asyncio.create_subprocess_exec(
        *program,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=region_at_work.environ | environ,
        cwd=PROJECT,
    )
    async with asyncio.timeout(120):
        out, _ = await process.communicate()
    assert process.returncode != 0
    assert sentence in out.decode()
