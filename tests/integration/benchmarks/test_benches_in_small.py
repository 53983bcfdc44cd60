"""Benchmarks as their users run them, in small: every trigger accounted for, the stack gone afterwards, also after Ctrl-C."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from devtools.stack import Stack
from devtools.stack.nginx import nginx_program

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]


async def bench(folder: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "notify_streams.cli", "bench", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "NOTIFY_STACK_DIR": str(folder)},
        # A test run in a shell's background would hand down that this signal is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


async def result(process: asyncio.subprocess.Process) -> dict[str, Any]:
    out, err = await process.communicate()
    assert out, err.decode()[-2000:]
    found: dict[str, Any] = json.loads(out)
    assert process.returncode == (0 if found["holds"] else 1)
    return found


def value(found: dict[str, Any], name: str) -> float:
    return float(next(one["value"] for one in found["figures"] if one["name"] == name))


@pytest.mark.drill
async def test_every_trigger_of_the_latency_bench_is_timed(tmp_path: Path) -> None:
    found = await result(await bench(tmp_path, "latency", "--rate", "20", "--seconds", "1", "--rounds", "1", "--json"))
    for lane in ("critical", "standard"):
        assert value(found, f"{lane} triggers timed") == 20
        assert 0 < value(found, f"{lane} router, p50") <= value(found, f"{lane} router, max")
    assert found["rounds"]["baseline"][0]["count"] == 20
    assert Stack(tmp_path / "bench-latency", environment={}).regions == []


@pytest.mark.drill
async def test_critical_triggers_arrive_while_workers_end_under_a_backlog(tmp_path: Path) -> None:
    found = await result(await bench(tmp_path, "backlog", "--triggers", "2000", "--minutes", "0.2", "--json"))
    assert value(found, "critical triggers, each accounted for") == 1200
    assert value(found, "standard triggers routed meanwhile") > 0
    assert len(found["events"]) == 4
    # The kill and the roll of each critical role were seen in the coordinator's own record.
    assert all(found["groups"][role]["rebalances"] >= 2 for role in ("critical", "cric_push"))
    assert Stack(tmp_path / "bench-backlog", environment={}).regions == []


@pytest.mark.drill
async def test_every_delivery_of_the_delivery_bench_is_in_the_sinks_log(tmp_path: Path) -> None:
    if nginx_program() is None:
        pytest.skip("nginx is not installed")
    found = await result(await bench(tmp_path, "delivery", "--triggers", "500", "--rounds", "1", "--json"))
    assert value(found, "this checkout: one push worker") > 0
    assert value(found, "this checkout: CPU of the push worker") > 0
    assert value(found, "aiohttp loop: the same requests") > 0
    assert "old checkout: not measured: no --old" in found["not_measured"]
    assert Stack(tmp_path / "bench-delivery" / "this-checkout", environment={}).regions == []
    assert _at_home_in(tmp_path) == []


@pytest.mark.drill
async def test_an_outage_fails_no_delivery_and_opens_the_breaker(tmp_path: Path) -> None:
    found = await result(await bench(tmp_path, "outages", "--only", "503", "--seconds", "10", "--rate", "50", "--json"))
    (outage,) = found["outages"]
    assert outage["triggers"] == sum(outage["states"].values()) > 0
    assert value(found, "503: failed") == 0
    assert value(found, "503: calls in vain") > 0
    assert value(found, "503: breaker open after") <= 5
    assert Stack(tmp_path / "bench-outages", environment={}).regions == []


@pytest.mark.drill
async def test_a_static_member_restarts_without_a_rebalance(tmp_path: Path) -> None:
    options = "--workers", "2", "--partitions", "4", "--rate", "40", "--rounds", "1"
    found = await result(await bench(tmp_path, "rebalance", *options, "--json"))
    assert value(found, "dynamic members: rebalances of a restart") == 2
    assert value(found, "static members: rebalances of a restart") == 0
    # Half of the partitions go on.
    assert value(found, "static members: paused for over a second") <= 50
    assert Stack(tmp_path / "bench-rebalance", environment={}).regions == []


async def test_an_interrupted_bench_leaves_nothing_behind(tmp_path: Path) -> None:
    process = await bench(tmp_path, "latency", "--seconds", "600", "--rounds", "1", "--json")
    folder = tmp_path / "bench-latency"
    while not list(folder.glob("workers/*.log")):
        assert process.returncode is None, (await process.communicate())[1].decode()[-2000:]
        await asyncio.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, _ = await process.communicate()
    assert process.returncode != 0 and out == b""
    assert Stack(folder, environment={}).regions == []
    assert _at_home_in(folder) == []


def _at_home_in(folder: Path) -> list[str]:
    """Processes that still say this folder in their command or their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            said = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in said and int(entry.name) != os.getpid():
            found.append(entry.name)
    return found


@pytest.mark.drill
async def test_every_acknowledged_webhook_is_a_receipt(tmp_path: Path) -> None:
    found = await result(
        await bench(tmp_path, "webhooks", "--rate", "50", "--triggers", "30", "--seconds", "4", "--json")
    )
    assert found["holds"], found
    assert found["statuses"] == {"200": 200} and value(found, "deliveries delivered") > 100
    assert Stack(tmp_path / "bench-webhooks", environment={}).regions == []


@pytest.mark.drill
async def test_repeated_reordered_and_unknown_receipts_leave_the_states_right(tmp_path: Path) -> None:
    found = await result(await bench(tmp_path, "receipts", "--receipts", "2400", "--json"))
    assert found["holds"], found
    assert found["deliveries"] == 400 and value(found, "receipts on the topic") == 2400
    assert Stack(tmp_path / "bench-receipts", environment={}).regions == []


@pytest.mark.drill
async def test_tables_on_disk_read_only_what_is_new_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "tables.json"
    arguments = ("--people", "20000", "--partitions", "4", "--lookups", "5", "--write", str(file), "--json")
    found = await result(await bench(tmp_path, "tables", *arguments))
    assert found["holds"], found
    assert value(found, "disk_tables_warm_restart_keys") == 3 * 20
    assert json.loads(file.read_text()) == found["figures_by_name"]
    assert not (tmp_path / "bench-tables").exists()


@pytest.mark.skipif(nginx_program() is None, reason="nginx is not installed")
async def test_each_lookup_at_the_edge_is_timed_beside_the_view(tmp_path: Path) -> None:
    found = await result(await bench(tmp_path, "edge", "--lookups", "10", "--rounds", "1", "--json"))
    assert found["lookups"] == 10
    for case in ("hit", "miss"):
        assert 0 < value(found, f"{case} at the edge, p50") <= value(found, f"{case} at the edge, p99")
    assert Stack(tmp_path / "bench-edge", environment={}).regions == []
