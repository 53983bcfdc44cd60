"""Verbs as real processes: JSON on stdout, errors on stderr, exit status."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from devtools.stack.paths import PROJECT
from devtools.stack.ports import free_port
from devtools.subprocesses import stop
from devtools.workers import is_ready
from tests.builders import trigger_json
from tests.e2e.processes import run_to_end, until
from tests.e2e.running_region import USERS, RunningRegion, a_new_id, wait_until_known

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200), pytest.mark.asyncio(loop_scope="session")]


async def test_send_reads_triggers_from_standard_input(running_region: RunningRegion) -> None:
    ids = [a_new_id("stdin") for _ in USERS]
    lines = [trigger_json(id=trigger_id, user_id=user_id) for trigger_id, user_id in zip(ids, USERS, strict=True)]
    done = await running_region.cli("send", "-", "--json", stdin=b"\n".join([*lines, b"", b""]))
    assert (done.status, done.json) == (0, {"sent": len(USERS)}), done.err
    await running_region.assert_notified_once(*ids)


async def test_send_sends_invalid_triggers_so_that_they_become_dead_letters(
    running_region: RunningRegion, tmp_path: Path
) -> None:
    before = (await running_region.audited())["dead_reasons"].get("invalid", 0)
    file = tmp_path / "triggers.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"id": 7}\n\n{}\n' + trigger_json(id=a_new_id("file"), user_id="ada"))
    done = await running_region.cli("send", str(file), "--json")
    assert (done.status, done.json) == (0, {"sent": 3}), done.err
    assert f"{file}:1: `id` must be text, found a whole number; it ends as a dead letter (invalid)" in done.err
    assert (await running_region.audited())["dead_reasons"]["invalid"] - before == 2


async def test_an_added_user_can_be_notified(running_region: RunningRegion) -> None:
    user_id = a_new_id("added")
    done = await running_region.cli(
        "users", "add", user_id, "--push", "token", "--email", f"{user_id}@example.org", "--json"
    )
    assert (done.status, done.json) == (0, {"user_id": user_id, "home": "us"}), done.err
    await running_region.drained()
    await wait_until_known(running_region, user_id)
    trigger_id = await running_region.trigger(user_id)
    await running_region.assert_notified_once(trigger_id)
    done = await running_region.cli("users", "add", user_id, "--sms", "+15550000042", "--email", "", "--json")
    assert (done.status, done.json) == (0, {"user_id": user_id, "home": "us"}), done.err
    *_, last = await running_region.values_of("user_contacts", user_id)
    assert json.loads(last).items() >= {"push": "token", "sms": "+15550000042", "email": ""}.items()


async def test_an_address_is_suppressed_and_allowed_again(running_region: RunningRegion) -> None:
    verb = ("prefs", "address", "email", f"{a_new_id('stopped')}@example.org", "--json")
    for option, reasons in (((), []), (("--stop",), ["stopped"]), ((), ["stopped"]), (("--allow",), []), ((), [])):
        done = await running_region.cli(*verb, *option)
        assert done.status == 0, done.err
        assert [one["reason"] for one in done.json["suppressed"]] == reasons
        assert done.json["id"].startswith("address:email:")


async def test_a_moving_user_is_notified_here_until_the_new_region_has_them(
    running_region: RunningRegion,
) -> None:
    """Region eu does not run, so the move waits for it. The user is notified from here meanwhile."""
    user_id = a_new_id("mover")
    await running_region.sign_up(user_id)
    await running_region.drained()
    await wait_until_known(running_region, user_id)
    done = await running_region.cli("users", "move", user_id, "--to", "eu", "--json")
    assert (done.status, done.json) == (0, {"user_id": user_id, "home": "eu", "version": 2}), done.err
    await running_region.drained()
    trigger_id = await running_region.trigger(user_id)
    await running_region.assert_notified_once(trigger_id)
    waiting = [json.loads(value) for value in await running_region.values_of("forward.eu", user_id)]
    assert [one["region"] for one in waiting if one.get("version") == 2] == ["eu"]


@pytest.mark.parametrize(
    ("arguments", "environ", "sentence"),
    [
        (("send", "-", "--system", "gossip"), {}, "payments, marketing, security"),
        (("users", "add", "u-7", "--sms", "555-1234"), {}, "sms"),
        (("users", "move", "unknown-user", "--to", "eu"), {}, "no user 'unknown-user' has signed up"),
        (("prefs", "set", "unknown-user", "marketing", "push", "out"), {}, "no user 'unknown-user' has signed up"),
        (("prefs", "stop-all", "unknown-user"), {}, "no user 'unknown-user' has signed up"),
        (
            ("users", "move", "ada", "--to", "mars"),
            {},
            "unknown region 'mars'; the regions are us, eu, asia",
        ),
        (("audit", "--json"), {"NOTIFY_KAFKA": "127.0.0.1:1"}, "region us: Kafka at 127.0.0.1:1 cannot be reached"),
    ],
    ids=[
        "an unknown system",
        "invalid contacts",
        "a move of an unknown user",
        "a choice of an unknown user",
        "a stop of an unknown user",
        "an unknown region",
        "a service that does not answer",
    ],
)
async def test_a_refusal_is_one_sentence_and_no_output(
    running_region: RunningRegion, arguments: tuple[str, ...], environ: dict[str, str], sentence: str
) -> None:
    done = await running_region.cli(*arguments, stdin=b"{}", **environ)
    assert (done.status, done.out) == (1, "")
    assert sentence in done.err and "Traceback" not in done.err


async def test_a_restore_is_refused_while_workers_run_and_keeps_none_from_starting(
    running_region: RunningRegion,
) -> None:
    done = await running_region.cli("restore", "apply", "--json")
    assert (done.status, done.out) == (1, "") and "workers of this region run (critical, standard" in done.err
    done = await running_region.cli("restore", "check", "--json")
    assert done.status == 1 and done.json["running"][:2] == ["critical", "standard"] and done.json["under_way"] is None
    assert done.json["plan"]["kafka"] == "kept" and done.json["plan"]["ledgers"] > 0


async def test_topics_are_correct_after_ensure(running_region: RunningRegion) -> None:
    done = await running_region.cli("topics", "check", "--json")
    assert (done.status, done.json) == (0, {"holds": True, "wrong": [], "warnings": []}), done.out
    again = await running_region.cli("topics", "ensure", "--json")
    assert (again.status, again.json) == (0, {"created": [], "changed": []})


async def test_topics_with_another_partition_count_are_named(running_region: RunningRegion) -> None:
    done = await running_region.cli("topics", "check", "--json", NOTIFY_PARTITIONS="16")
    assert (done.status, done.json["holds"]) == (1, False)
    assert any("has 8 partitions, the settings say 16" in one for one in done.json["wrong"])


async def test_valid_settings_hold(running_region: RunningRegion) -> None:
    done = await running_region.cli("config", "check", "--json")
    assert (done.status, done.json["holds"], done.json["region"]) == (0, True, "us"), done.err


@pytest.mark.parametrize(
    ("file", "text", "named"),
    [
        ("us.yaml", "region: us\nkafka: [a\nshards: b\n", ("us.yaml", "line 3")),
        ("us.yaml", "region: us\nkafkas: a:1\n", ("us.yaml", "kafkas")),
        ("us.yaml", "- us\n", ("us.yaml", "YAML mapping")),
        (
            "categories.yaml",
            "payments:\n  number: 1\n  channels: {push: maybe}\n",
            ("categories.yaml", "line 3", "must be one of always, in, out"),
        ),
        ("categories.yaml", "payments: {number: 1\n\tchannels: {}\n", ("categories.yaml", "line 2")),
        ("categories.yaml", "a: {number: 1, systems: [shop], channels: {push: in}}\n", ("categories.yaml", "'shop'")),
    ],
    ids=["broken YAML", "an unknown key", "a list", "an unknown default", "a tab", "an unknown system"],
)
async def test_an_invalid_file_is_named_with_the_line(
    running_region: RunningRegion, tmp_path: Path, file: str, text: str, named: tuple[str, ...]
) -> None:
    for good in (PROJECT / "config").glob("*.yaml"):
        (tmp_path / good.name).write_text(good.read_text())
    (tmp_path / file).write_text(text)
    done = await running_region.cli("config", "check", NOTIFY_CONFIG_DIR=str(tmp_path))
    assert (done.status, done.out) == (1, "")
    assert "Traceback" not in done.err
    assert all(word in done.err for word in named), done.err


async def test_the_faust_command_starts_a_worker(running_region: RunningRegion, tmp_path: Path) -> None:
    port = free_port()
    faust = str(Path(sys.executable).with_name("faust"))
    environ = running_region.environ | {
        "NOTIFY_REGION": "us",
        "NOTIFY_ROLE": "receipts",
        "NOTIFY_WEB_PORT": str(port),
        "NOTIFY_DATA_DIR": str(tmp_path),
        **running_region.stack.worker_environ("us", "receipts"),
    }
    with (tmp_path / "log").open("wb") as log:
        worker = await asyncio.create_subprocess_exec(
            faust, "-A", "notify_streams.app", "worker", "-l", "info", stdout=log, stderr=log, env=environ, cwd=PROJECT
        )

    async def ready() -> bool:
        assert worker.returncode is None, (tmp_path / "log").read_text()
        async with aiohttp.ClientSession() as http:
            return await is_ready(http, f"http://127.0.0.1:{port}/ready")

    try:
        await until(ready, "the worker is ready")
        assert await stop(worker, grace_s=60) == 0
    finally:
        await stop(worker, signal.SIGKILL)


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"NOTIFY_REGION": "us"}, "set NOTIFY_REGION and NOTIFY_ROLE"),
        ({"NOTIFY_REGION": "us", "NOTIFY_ROLE": "cook"}, "there is no role 'cook'"),
        ({"NOTIFY_REGION": "mars", "NOTIFY_ROLE": "push"}, "mars.yaml"),
    ],
    ids=["no role", "an unknown role", "an unknown region"],
)
async def test_the_faust_command_fails_with_what_is_missing(
    running_region: RunningRegion, environ: dict[str, str], sentence: str
) -> None:
    program = [str(Path(sys.executable).with_name("faust")), "-A", "notify_streams.app", "worker"]
    done = await run_to_end(program, running_region.environ | environ)
    assert done.status != 0
    assert sentence in done.out + done.err
