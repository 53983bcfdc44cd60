"""`/metrics` of a worker whose services are all away."""

from __future__ import annotations

import asyncio
from typing import Any

from notify_streams import __version__, metrics
from notify_streams.loop_lag import LoopLag
from tests.waiting import until


async def test_a_worker_says_its_build_and_that_it_is_not_ready(visit: Any, new_worker: Any) -> None:
    client = await visit(new_worker("standard"))
    response = await client.get("/metrics")
    assert response.status == 200
    text = await response.text()
    assert f'notify_build{{region="us",role="standard",version="{__version__}"}} 1.0' in text
    assert "\nnotify_ready 0.0\n" in text
    assert 'notify_stalled_seconds{reason="not_committed"} 0.0' in text
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "python_gc_collections_total"):
        assert f"\n{name}" in text, name


async def test_a_blocked_event_loop_is_seen() -> None:
    def late() -> float:
        samples = {
            sample.labels["le"]: sample.value
            for sample in next(iter(metrics.LOOP_LAG.collect())).samples
            if sample.name.endswith("_bucket")
        }
        return samples["+Inf"] - samples["0.1"]

    lag, before = LoopLag(), late()
    await lag.start()
    await asyncio.sleep(0)
    deadline = asyncio.get_running_loop().time() + 0.5
    while asyncio.get_running_loop().time() < deadline:
        pass
    await until(lambda: late() > before)
    await lag.stop()
