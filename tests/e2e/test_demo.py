"""`notify-streams demo` on a stack of its own."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from devtools.stack import Stack
from devtools.stack.maven import missing
from devtools.stack.paths import cache_folder
from devtools.stack.ports import is_free
from devtools.subprocesses import python_module, running
from notify_streams.admin.audit.provider_log import read_provider_log
from notify_streams.roles import ROLES
from tests.e2e.processes import Done, environ_of, run_to_end
from tests.local_services import SECURE, own_stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1800), pytest.mark.asyncio(loop_scope="session")]

_USERS, _TRIGGERS = 200, 1_000
#: Package tools use a proxy; this one refuses every connection.
_NO_NETWORK = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:1")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def demo(running_region: object) -> AsyncIterator[tuple[Done, Stack]]:
    """One small run without standard input. The other running region starts first, so that its failures are not this test's."""
    assert not missing(), "`make test` downloads the jars before any test"
    cached = _files(cache_folder())
    local = {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
    arguments = (
        "--people",
        str(_USERS),
        "--triggers",
        str(_TRIGGERS),
        "--exit",
        "--json",
        *(["--secure"] if SECURE else []),
    )
    async with own_stack("demo") as stack:
        environ = environ_of(stack) | _NO_NETWORK | local
        done = await run_to_end(python_module("notify_streams.cli", "demo", *arguments), environ, timeout_s=720)
        assert _files(cache_folder()) == cached, "a warm run downloads nothing"
        yield done, stack


async def test_it_exits_0_because_the_audit_holds(demo: tuple[Done, Stack]) -> None:
    done, _ = demo
    assert done.status == 0, done.err
    assert (done.json["holds"], done.json["differences"], done.json["in_flight"]) == (True, [], [])


async def test_its_numbers_add_up(demo: tuple[Done, Stack]) -> None:
    sums = demo[0].json["regions"]["us"]
    outcomes = {name: sums[name] for name in ("notified", "forwarded", "repartitioned", "dead", "duplicate", "waiting")}
    assert sums["taken"] == sum(outcomes.values())
    # A repartitioned record, and one that waits for its user, is taken again.
    assert sums["taken"] - outcomes["repartitioned"] - outcomes["waiting"] == _TRIGGERS
    assert sum(sums["dead_reasons"].values()) == outcomes["dead"]
    sent = sum(states.get("sent", 0) for states in sums["deliveries"].values())
    accepted = list(read_provider_log(demo[1].region("us").sandbox.provider_log))
    assert len({line.delivery_id for line in accepted}) == sent
    assert len(accepted) == sums["accepted"] == sum(lane["count"] for lane in demo[0].json["latency_ms"].values())
    assert {line.provider for line in accepted} == {"fcm", "apns", "web_push", "twilio", "smtp"}, (
        "some users have devices of all push providers"
    )


async def test_it_leaves_nothing_running(demo: tuple[Done, Stack]) -> None:
    _, stack = demo
    assert [service.name for service in stack.region("us").services if service.process.pid is not None] == []
    # Workers are recognised by the ports of their views.
    base = stack.region("us").plan.ports["web"]
    assert [role for place, role in enumerate(ROLES) if not is_free(base + place)] == []


async def test_progress_goes_to_stderr_and_there_is_no_escape_sequence_without_a_terminal(
    demo: tuple[Done, Stack],
) -> None:
    done, _ = demo
    assert json.loads(done.out)
    assert "triggers processed" in done.err
    assert "\x1b" not in done.out + done.err


async def test_ctrl_c_stops_what_it_has_started_and_prints_no_stack() -> None:
    async with own_stack("demo-stopped") as stack:
        command = python_module("notify_streams.cli", "demo", "--exit")
        async with running(command, env=environ_of(stack), stderr=asyncio.subprocess.STDOUT) as process:
            assert process.stdout is not None
            assert await asyncio.wait_for(process.stdout.readline(), 60) == b"starting the services of us\n"
            process.send_signal(signal.SIGINT)
            out, _ = await asyncio.wait_for(process.communicate(), 180)
        assert (process.returncode, out.decode().split()) == (1, ["Aborted!"])
        assert [service.name for service in stack.region("us").services if service.process.pid is not None] == []


def _files(folder: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in folder.rglob("*.jar")}
