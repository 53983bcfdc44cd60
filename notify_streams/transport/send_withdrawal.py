"""Withdraws the batches of one partition from an aiokafka producer.

The batches of its other partitions go on. aiokafka retries an idempotent batch without a limit, and one connection answers in order:
otherwise only the end of the whole producer would make sure that nothing is written after the caller got an error.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from aiokafka.client import ConnectionGroup
from aiokafka.conn import CloseReason
from aiokafka.errors import KafkaTimeoutError, RequestTimedOutError
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.structs import TopicPartition

#: A batch is back in its queue after aiokafka's pause between two attempts (`retry_backoff_ms`).
_TIMEOUT_S: Final = 1.0
_LOOK_S: Final = 0.01


class SendWithdrawal:
    """For one producer, from its start."""

    def __init__(self, producer: Any) -> None:
        self._client = producer.client
        self._accumulator = producer._message_accumulator
        #: Produce requests under way: node → partitions, call. aiokafka sends one at a time to a node.
        self._under_way: dict[int, tuple[frozenset[TopicPartition], asyncio.Future[Any]]] = {}
        self._send = self._client.send
        self._client.send = self._send_request
        #: Partitions that are being withdrawn.
        self._leaving: set[TopicPartition] = set()
        self._put_back = self._accumulator.reenqueue
        self._accumulator.reenqueue = self._reenqueue

    async def _send_request(self, node_id: int, request: Any, **options: Any) -> Any:
        if not isinstance(request, ProduceRequest):
            return await self._send(node_id, request, **options)
        tps = frozenset(TopicPartition(topic, number) for topic, parts in request._topics for number, _ in parts)
        call = asyncio.ensure_future(self._send(node_id, request, **options))
        self._under_way[node_id] = tps, call
        try:
            await asyncio.wait([call])
        finally:
            if not call.cancel() and not call.cancelled():
                call.exception()  # this was cancelled at the moment when the call failed: asyncio would log an error that is never read
            del self._under_way[node_id]
        if call.cancelled():
            raise RequestTimedOutError  # its batches go back into their queues
        return call.result()

    async def withdraw(self, tp: TopicPartition) -> bool | None:
        """Fail what the producer has of a partition: nothing of it is sent any more. What was sent already may be written.

        Returns:
            Whether the producer can go on with the partition: Kafka refuses what follows a batch with a sequence number that was left out.
            None: it was not possible in time.
        """
        pending = self._accumulator._pending_batches
        is_clean = True
        ends_at = time.monotonic() + _TIMEOUT_S
        self._leaving.add(tp)
        while any(one.tp == tp for one in pending):
            if time.monotonic() > ends_at:
                return None
            is_clean = False
            self._end_request(tp)
            await asyncio.sleep(_LOOK_S)
        self._leaving.discard(tp)
        return self._fail_queued(tp) and is_clean

    def _reenqueue(self, batch: Any) -> None:
        self._put_back(batch)
        if batch.tp in self._leaving:
            self._fail_queued(batch.tp)

    def _fail_queued(self, tp: TopicPartition) -> bool:
        """Fail what waits for its next attempt; False if a batch of it has a sequence number."""
        is_clean = True
        for batch in self._accumulator._batches.pop(tp, ()):
            if batch.retry_count:
                is_clean = False
                # It is not pending, but its callback removes it from there.
                self._accumulator._pending_batches.add(batch)
            batch.failure(KafkaTimeoutError("not acknowledged in time"))
            for future in (batch.future, batch._drain_waiter):
                if not future.cancelled():
                    future.exception()  # asyncio would log one that is never read
        return is_clean

    def _end_request(self, tp: TopicPartition) -> None:
        """End the request with a batch of the partition, and its connection.

        The other batches in it are sent again, and written once.
        """
        for node_id, (tps, call) in self._under_way.items():
            if tp in tps and call.cancel():
                connection = self._client._conns.get((node_id, ConnectionGroup.DEFAULT))
                if connection is not None and connection._writer is not None:
                    connection._writer.transport.abort()
                    connection.close(reason=CloseReason.CONNECTION_TIMEOUT)
