"""Delivers records of unbatched topics as single events, as Faust does.

Follows `getmany` and `_drain_messages` of `faust/transport/consumer.py` (0.15.3).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from faust.transport.drivers import aiokafka as stock
from faust.types import TP

_YIELD_EVERY = 100


async def deliver_single_events(consumer: stock.Consumer, records: Mapping[TP, list[Any]]) -> None:
    """Pass every record to Faust's conductor, in Faust's order. Stops early when the flow stops or a rebalance begins."""
    app = consumer.app
    generation = app.consumer_generation_id
    for count, (tp, record) in enumerate(consumer.scheduler.iterate(records), 1):
        if not consumer.flow_active or app.consumer_generation_id != generation:
            return
        if tp not in consumer._get_active_partitions() and tp not in consumer._buffered_partitions:
            continue
        if count % _YIELD_EVERY == 0:
            await asyncio.sleep(0)
        app.monitor.track_tp_end_offset(tp, consumer.highwater(tp))
        await _deliver_one(consumer, tp, consumer._to_message(tp, record))


async def _deliver_one(consumer: stock.Consumer, tp: TP, message: Any) -> None:
    offset = message.offset
    read = consumer._read_offset[tp]
    if read is not None and offset < read:
        return
    if read and offset - read > 1 and consumer.app.topics.acks_enabled_for(message.topic):
        await consumer._add_gap(tp, read + 1, offset)
    if consumer._commit_every is not None and consumer._n_acked >= consumer._commit_every:
        consumer._n_acked = 0
        await consumer.commit()
    await consumer.wait_first(consumer.callback(message), consumer.suspend_flow.wait())
    consumer._read_offset[tp] = offset
