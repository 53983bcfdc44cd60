"""What a worker logs while Kafka is away."""

from __future__ import annotations

import asyncio
import re

import aiohttp

from devtools.stack import Stack
from devtools.workers import WorkerPool
from notify_streams.admin.bootstrap import bootstrap_region
from notify_streams.settings import load_settings
from tests.e2e.processes import environ_of, until

ROLE = "cric_push"


async def test_an_outage_of_kafka_is_one_line_of_each_kind_and_a_count(private_stack: Stack) -> None:
    await asyncio.to_thread(private_stack.up, ["us"])
    environ = environ_of(private_stack)
    await bootstrap_region(load_settings("us", environ=environ, overlay=private_stack.settings_file("us")))
    logs = private_stack.folder / "workers"
    kafka = private_stack.region("us").kafka
    workers = WorkerPool("us", environ, logs)
    try:
        worker = await workers.start(ROLE)
        log = logs / f"{worker.name}.log"

        async def suppressed() -> float:
            async with aiohttp.request("GET", f"{worker.url}/metrics") as response:
                found = re.search(r"^notify_suppressed_log_lines_total (\S+)", await response.text(), re.MULTILINE)
            return float(found[1]) if found else 0.0

        async def many_are_suppressed() -> bool:
            return await suppressed() >= 100

        await worker.wait_until_ready()
        before = len(log.read_text().splitlines())
        await asyncio.to_thread(kafka.kill)
        await until(many_are_suppressed, "a hundred lines were not written")
        written = log.read_text().splitlines()[before:]
        await asyncio.to_thread(kafka.start)
        await worker.wait_until_ready()
    finally:
        await workers.stop_all()
    assert 0 < len(written) < 40, "\n".join(written)
