"""Sends standard triggers from a process of its own.

``python -m devtools.benchmarks.backlog.load_generator REGION COUNT RUN``: ends when Kafka has acknowledged all; `RUN` keeps ids apart.
"""

from __future__ import annotations

import asyncio
import sys

from devtools.benchmarks.router.load import triggers
from notify_streams.admin.trigger_producer import TriggerProducer
from notify_streams.settings import load_settings
from notify_streams.settings_folder import local_overlay


async def main(region: str, count: int, run: str) -> None:
    """Send `count` standard triggers as fast as Kafka accepts them."""
    settings = load_settings(region, overlay=local_overlay(region))
    async with TriggerProducer(settings) as producer:
        await producer.send(triggers(count, run))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
