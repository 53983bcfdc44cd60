"""The half of the consumer that commits: only acknowledged prefixes, and only what Kafka confirmed counts.

In: acknowledgements, and Faust's requests to commit. Out: offsets in Kafka. Fetches and delivers nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from faust.transport.drivers import aiokafka as stock
from faust.types import TP
from faust.types.transports import TPorTopicSet
from mode.utils.futures import notify

from notify_streams.transport.app_state import app_state
from notify_streams.transport.batched_topic import BatchMessage
from notify_streams.transport.fetch_thread import FetchThread
from notify_streams.transport.partition_buffer import PartitionBuffer

log = logging.getLogger(__name__)


class CommittingConsumer(stock.Consumer):
    """Faust's consumer, whose batched partitions are buffers."""

    _thread: FetchThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._buffers: dict[TP, PartitionBuffer] = {}
        super().__init__(*args, **kwargs)
        self.wiring = app_state(self.app)
        self.settings = self.wiring.settings
        self.commit_interval = self.settings.commit_interval_s
        # Makes Faust call `wait_empty` before it stops agents, which here is bounded.
        self.app.conf.stream_wait_empty = True

    def on_acked(self, message: BatchMessage) -> bool:
        """All agents of a batch are done with it."""
        assert message.prefix is not None
        if message.delivery is not None:
            message.prefix.ack(message.delivery)
        self._unacked_messages.discard(message)
        notify(self._waiting_for_ack)
        return True

    async def wait_empty(self) -> None:
        """Bounded, unlike Faust's."""
        await self._drain()

    async def _drain(self) -> None:
        deadline = self.loop.time() + self.settings.drain_timeout_s
        while self.loop.time() < deadline and self._in_flight():
            await self._wait_for_ack(0.1)
        await self._commit_in_time()

    async def _wait_for_ack(self, timeout: float) -> None:  # noqa: ASYNC109 - Faust's signature
        acknowledged = self._waiting_for_ack = self.loop.create_future()
        await asyncio.wait([acknowledged], timeout=timeout)
        self._waiting_for_ack = None

    def _in_flight(self) -> bool:
        if any(not buffer.prefix.idle for buffer in self._buffers.values()):
            return True
        return any(not (message.acked or isinstance(message, BatchMessage)) for message in self._unacked_messages)

    async def _commit_in_time(self) -> None:
        try:
            await asyncio.wait_for(self.commit(), self.settings.request_timeout_s)
        except TimeoutError:
            log.warning("offsets were not committed within %s s", self.settings.request_timeout_s)

    def _filter_tps_with_pending_acks(self, topics: TPorTopicSet | None = None) -> Iterable[TP]:  # type: ignore[override]
        for tp in super()._filter_tps_with_pending_acks(topics):
            if tp.topic not in self._thread.batched_topics:
                yield tp
        for tp, buffer in self._buffers.items():
            if buffer.to_commit() is not None and (topics is None or tp in topics or tp.topic in topics):
                yield tp

    def _new_offset(self, tp: TP) -> int | None:
        buffer = self._buffers.get(tp)
        return super()._new_offset(tp) if buffer is None else buffer.to_commit()

    def _should_commit(self, tp: TP, offset: int) -> bool:
        return tp in self._buffers or super()._should_commit(tp, offset)

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:
        """Like Faust's, but it draws no table of the offsets for a log that nobody reads, which cost milliseconds at
        every commit."""
        if self.in_transaction:
            return await super()._commit_offsets(offsets, start_new_transaction)
        assigned = self.assignment()
        wanted = {tp: offset for tp, offset in offsets.items() if tp in assigned}
        if not wanted:
            return False
        await self.app.producer.flush()
        done = await self._commit(wanted)
        # Faust's own topics as Faust has them: it has forgotten their acknowledgements by now.
        self._committed_offset.update({tp: offset for tp, offset in wanted.items() if tp not in self._buffers})
        if not done:
            return False
        self.app.tables.on_commit(wanted)
        self.app.monitor.on_tp_commit(wanted)
        return True

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        buffers = dict(self._buffers)
        done = await super()._commit(offsets)
        if done:
            for tp, offset in offsets.items():
                if tp in buffers:
                    buffers[tp].committed = max(offset, buffers[tp].committed or 0)
        return done
