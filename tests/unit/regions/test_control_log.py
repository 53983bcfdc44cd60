"""The control log in Kafka: its connections."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from notify_streams.kafka import KafkaConnection
from notify_streams.regions.failover import log
from notify_streams.regions.failover.log import KafkaControlLog
from notify_streams.regions.failover.protocol import ControlRecord


class FakeProducer:
    """Connects when `reachable` is set."""

    connected: list[FakeProducer]
    reachable: asyncio.Event

    def __init__(self, *_: Any, **__: Any) -> None:
        self.sent = 0

    async def start(self) -> None:
        await self.reachable.wait()
        self.connected.append(self)

    async def stop(self) -> None:
        self.connected.remove(self)

    async def send_batch(self, *_: Any) -> None:
        self.sent += 1


async def test_records_that_are_appended_at_the_same_time_share_a_connection_which_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    FakeProducer.connected, FakeProducer.reachable = [], asyncio.Event()
    monkeypatch.setattr(log, "BatchProducer", FakeProducer)
    control_log = KafkaControlLog("us", KafkaConnection("127.0.0.1:9"))
    record = ControlRecord("us", 1, "released", "us", "a", datetime(2026, 11, 22, tzinfo=UTC))
    appending = [asyncio.create_task(control_log.append(record)) for _ in range(3)]
    await asyncio.sleep(0)
    FakeProducer.reachable.set()
    await asyncio.gather(*appending)
    assert [producer.sent for producer in FakeProducer.connected] == [3]
    await control_log.close()
    assert FakeProducer.connected == []
