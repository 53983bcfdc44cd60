"""Verbs without services: one line that names what is missing, never another region's or production's services."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from devtools.stack.paths import PROJECT
from notify_streams.addresses import without_credentials
from notify_streams.admin.why import Story, ask
from notify_streams.cli.main import VERBS, main

#: Nothing listens there.
NOWHERE = "127.0.0.1:1"
SECRET = "s3cr3t"
#: Every verb of the product with what it needs; `worker` runs until it is stopped and logs instead.
COMMANDS = {
    "audit": ("audit",),
    "consent": ("consent", "ada"),
    "dead-letters list": ("dead-letters", "list"),
    "deliveries list": ("deliveries", "list"),
    "doctor": ("doctor",),
    "failover": ("failover", "us", "--back"),
    "ledger": ("ledger", "--sealed"),
    "prefs get": ("prefs", "get", "ada"),
    "prefs set": ("prefs", "set", "ada", "payments", "push", "in"),
    "prefs address": ("prefs", "address", "sms", "+15550100200"),
    "prefs import": ("prefs", "import", str(PROJECT / "README.md")),
    "providers list": ("providers", "list"),
    "providers pause": ("providers", "pause", "fcm"),
    "registry init": ("registry", "init", "--timeout", "5"),
    "restore check": ("restore", "check"),
    "restore apply": ("restore", "apply"),
    "send": ("send", str(PROJECT / "tests/integration/cli/trigger.jsonl")),
    "shards check": ("shards", "check"),
    "shards init": ("shards", "init"),
    "shards move": ("shards", "move", "1", "--to", "0"),
    "tables rebuild": ("tables", "rebuild"),
    "topics check": ("topics", "check"),
    "topics ensure": ("topics", "ensure"),
    "topics grow": ("topics", "grow", "--partitions", "16"),
    "users add": ("users", "add", "ada"),
    "users erased": ("users", "erased"),
    "users export": ("users", "export", "ada"),
    "users forget": ("users", "forget", "ada", "--yes"),
    "users move": ("users", "move", "ada", "--to", "eu", "--version", "2"),
    "why": ("why", "x"),
    "run": ("run",),
}


def _asks_every_region(arguments: tuple[str, ...]) -> bool:
    """Such a verb shows what it has found, and names each region that does not answer."""
    return arguments[0] == "consent" or arguments[:2] == ("users", "export")


def invoke(*arguments: str, **environ: str | None) -> Result:
    return CliRunner().invoke(main, arguments, env={"NOTIFY_STACK_DIR": None, "NOTIFY_REGION": None} | environ)


def settings_folder(folder: Path, address: str) -> Path:
    """A settings folder of a region whose services have this address."""
    settings = {
        "region": "us",
        "kafka": address,
        "shards": [f"mongodb://root:{SECRET}@{address}/?directConnection=true"],
        "redis": f"redis://:{SECRET}@{address}/0",
        "dynamodb": f"http://{address}",
        "data_dir": str(folder / "data"),
        "outbox": {"transaction_timeout_s": 1.0},
        "public": {"address_key": "k" * 32},
    }
    (folder / "us.yaml").write_text(yaml.safe_dump(settings))
    (folder / "categories.yaml").write_text((PROJECT / "config" / "categories.yaml").read_text())
    return folder


@pytest.fixture
def silent_address() -> Iterator[str]:
    """Accepts connections and answers nothing, as a paused process does."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def assert_one_line(done: Result) -> None:
    assert (done.exit_code, type(done.exception)) == (1, SystemExit), (done.output, done.exception)
    assert "Traceback" not in done.output and SECRET not in done.output
    assert sum(line.startswith("Error: ") for line in done.output.splitlines()) == 1, done.output


def test_every_verb_is_tested() -> None:
    product = {name for name, verb in VERBS.items() if verb.package == "notify_streams"} | {"run"}
    assert {name.partition(" ")[0] for name in COMMANDS} == product - {"completion", "config", "templates", "worker"}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_verb_names_the_services_that_do_not_answer(arguments: tuple[str, ...], tmp_path: Path) -> None:
    started = time.monotonic()
    done = invoke(*arguments, NOTIFY_CONFIG_DIR=str(settings_folder(tmp_path, NOWHERE)))
    assert time.monotonic() - started < 30, "a person waits for it"
    if arguments[:2] == ("shards", "check") or arguments == ("doctor",):
        assert done.exit_code == 1 and f"mongodb://{NOWHERE}/" in done.output and SECRET not in done.output
        return
    if _asks_every_region(arguments):
        assert done.exit_code == 1 and f"region us: Kafka at {NOWHERE} cannot be reached" in done.output
        assert "Traceback" not in done.output and SECRET not in done.output
        return
    assert_one_line(done)
    if arguments[0] != "failover":  # it needs a majority of regions, not a certain service
        assert f"MongoDB shard 0 at mongodb://{NOWHERE}/" in done.output
        assert f"Kafka at {NOWHERE}" in done.output and f"Redis at redis://{NOWHERE}/0" in done.output


def test_a_pause_that_not_each_shard_has_is_to_be_repeated(tmp_path: Path) -> None:
    """It holds where it was written, so "does not answer" alone would mislead."""
    done = invoke("providers", "pause", "fcm", NOTIFY_CONFIG_DIR=str(settings_folder(tmp_path, NOWHERE)))
    assert_one_line(done)
    assert "run the command again once all do" in done.output


@pytest.mark.parametrize("arguments", [COMMANDS["send"], COMMANDS["prefs get"], COMMANDS["shards init"]], ids=str)
def test_a_service_that_accepts_and_never_answers_counts_as_down(
    arguments: tuple[str, ...], tmp_path: Path, silent_address: str
) -> None:
    done = invoke(*arguments, NOTIFY_CONFIG_DIR=str(settings_folder(tmp_path, silent_address)))
    assert_one_line(done)
    assert f"MongoDB shard 0 at mongodb://{silent_address}/" in done.output


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS.keys())
def test_without_a_local_stack_a_verb_does_not_use_the_addresses_of_the_settings_file(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    done = invoke(*arguments, NOTIFY_STACK_DIR=str(tmp_path), NOTIFY_CONFIG_DIR=None)
    assert_one_line(done)
    assert "the local stack of region us is not running" in done.output and "notify-streams stack up" in done.output
    assert ".internal" not in done.output


def test_the_settings_are_the_same_from_another_folder(tmp_path: Path) -> None:
    program = [
        sys.executable,
        "-c",
        "from notify_streams.settings_folder import config_folder; print(config_folder({}))",
    ]
    done = subprocess.run(
        program, cwd=tmp_path, env={"PYTHONPATH": str(PROJECT)}, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()) == PROJECT / "config"


_password = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)


@given(_password, st.sampled_from(["", "?tls=true", "/0", "/db?authSource=admin"]))
def test_no_part_of_a_password_is_shown(password: str, rest: str) -> None:
    shown = without_credentials(f"redis://user:{password}@host:6379{rest}")
    assert shown == f"redis://host:6379{rest.partition('?')[0]}"


def test_why_waits_as_long_as_it_is_told(tmp_path: Path, silent_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[tuple[float, float]] = []

    async def noting(*asked: Any, **how: Any) -> Story:
        waited.append((how["timeout_s"], how["own_timeout_s"]))
        return await ask(*asked, **how)

    monkeypatch.setattr("notify_streams.admin.why.ask", noting)
    done = invoke("why", "x", "--timeout", "0.2", NOTIFY_CONFIG_DIR=str(settings_folder(tmp_path, silent_address)))
    assert_one_line(done)
    assert waited == [(0.2, 0.2)]
