"""The whole mission in one command, on a stack that nothing else uses."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from devtools.stack import Stack
from devtools.stack.maven import missing
from devtools.stack.paths import cache_folder
from devtools.stack.ports import is_free
from notify_streams.roles import ROLES
from tests.e2e.processes import Done, ended, environ_of
from tests.local_services import own_stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="session")]

_PEOPLE, _TRIGGERS = 200, 1_000
#: Whatever asks the network through a proxy, as every package tool does, is refused at once.
_NO_NETWORK = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:1")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def demo(region_at_work: object) -> AsyncIterator[tuple[Done, Stack]]:
    """One run with small numbers, nothing on standard input. The other region is up first, so that failures are told apart."""
    assert not missing(), "the jars are fetched by `make test` before any test"
    cached = _files(cache_folder())
    local = {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
    arguments = ("--people", str(_PEOPLE), "--triggers", str(_TRIGGERS), "--exit", "--json")
    async with own_stack("demo") as stack:
        environ = environ_of(stack) | _NO_NETWORK | local
        done = await ended([sys.executable, "-m", "notify_streams.cli", "demo", *arguments], environ, patience_s=720)
        assert _files(cache_folder()) == cached, "a warm run downloads nothing"
        yield done, stack


async def test_it_exits_0_because_the_books_close(demo: tuple[Done, Stack]) -> None:
    done, _ = demo
    assert done.status == 0, done.err
    assert (done.json["holds"], done.json["differences"], done.json["in_flight"]) == (True, [], [])


async def test_its_sums_close(demo: tuple[Done, Stack]) -> None:
    sums = demo[0].json["regions"]["us"]
    outcomes = {name: sums[name] for name in ("notified", "forwarded", "repartitioned", "dead", "duplicate")}
    assert sums["taken"] == sum(outcomes.values())
    # A record that took the detour was taken twice.
    assert sums["taken"] - outcomes["repartitioned"] == _TRIGGERS
    assert sum(sums["dead_reasons"].values()) == outcomes["dead"]
    sent = sum(states.get("sent", 0) for states in sums["deliveries"].values())
    assert sent == sums["accepted"] == sum(lane["count"] for lane in demo[0].json["latency_ms"].values())


async def test_it_leaves_nothing_running(demo: tuple[Done, Stack]) -> None:
    _, stack = demo
    assert [service.name for service in stack.region("us").services if service.process.pid is not None] == []
    # Its workers are known by the ports of their views.
    base = stack.region("us").plan.ports["web"]
    assert [role for place, role in enumerate(ROLES) if not is_free(base + place)] == []


async def test_progress_goes_to_stderr_and_there_is_no_escape_sequence_without_a_terminal(
    demo: tuple[Done, Stack],
) -> None:
    done, _ = demo
    assert json.loads(done.out)
    assert "triggers worked off" in done.err
    assert "\x1b" not in done.out + done.err


def _files(folder: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in folder.rglob("*.jar")}
