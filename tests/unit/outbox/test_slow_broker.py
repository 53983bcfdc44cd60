"""A broker that takes a flush slowly gets it once."""

import asyncio
from collections.abc import Sequence
from typing import Any

from notify_streams import tasks
from notify_streams.outbox.flush_loop import FlushLoop
from notify_streams.outbox.ledger import Ledger
from notify_streams.routing.outcome_records import bad_record, id_conflict, repartitioned
from notify_streams.settings import OutboxSettings
from tests.builders import AckRecorder, ARecord, a_decided_batch
from tests.unit.outbox.test_divided_flush import SHARDS, SlowStore, no_relay
from tests.waiting import until


class SlowProducer:
    """Takes 0.1 s for each record, as for a Kafka batch of its own. `sent` has those of sends that were not cancelled."""

    def __init__(self) -> None:
        self.begun = 0
        self.sent = 0

    async def send_batch(self, topic: str, partition: int, records: Sequence[Any]) -> None:
        self.begun += len(records)
        await asyncio.sleep(0.1 * len(records))
        self.sent += len(records)


async def test_a_flush_that_takes_longer_than_one_batch_may_is_sent_once() -> None:
    store, producer, acks = SlowStore(limit=10), SlowProducer(), AckRecorder()
    ledger, limits = Ledger(SHARDS, "standard", 1.0), OutboxSettings(publish_timeout_s=0.15)
    loop = FlushLoop("standard", 0, store, ledger, producer, limits, id_conflict, bad_record, no_relay)
    running = asyncio.create_task(loop.run())
    entries = [repartitioned(ARecord(b"." * 1_000_000, offset=at), "t", 0, 3, "u") for at in range(4)]
    await loop.submit(a_decided_batch(*entries, acks=acks))
    await until(lambda: acks.acknowledged or producer.begun > 4)
    await tasks.stop([running])
    assert (producer.begun, producer.sent) == (4, 4)
