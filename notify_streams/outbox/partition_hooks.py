"""Ties an outbox to an application: its lifecycle, and where its partitions start."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from faust.types import TP

from notify_streams.errors import RetryLater
from notify_streams.transport import on_assigned, on_revoked, start_at
from notify_streams.transport.app_state import app_state
from notify_streams.transport.consumer import batched_consumer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

    from faust.types import AppT

    from notify_streams.outbox.ledger import Source
    from notify_streams.outbox.outbox import Outbox
    from notify_streams.stores.mongo import Shards
    from notify_streams.transport.fetch_thread import PartitionOffsets


def attach_outbox(app: AppT, outbox: Outbox, shards: Shards, topics: Collection[str]) -> None:
    """Start and stop `outbox` with the app. The ledger says where the partitions of `topics` start, shard by shard."""

    async def assigned(partitions: frozenset[TP]) -> None:
        await outbox.on_assigned(_sources(partitions, topics))

    def read_offsets(tps: Collection[TP]) -> Awaitable[Mapping[TP, PartitionOffsets]]:
        return batched_consumer(app).partition_offsets(tps)

    app_state(app).lifecycles.append((outbox.start, outbox.stop))
    on_assigned(app, assigned)
    read = partial(start_positions, outbox, topics, read_offsets)
    start_at(app, read, lambda tp: shards.of(tp.partition), transient=(RetryLater,))
    on_revoked(app, lambda _: outbox.on_revoked())


async def start_positions(
    outbox: Outbox,
    topics: Collection[str],
    read_offsets: Callable[[Collection[TP]], Awaitable[Mapping[TP, PartitionOffsets]]],
    partitions: frozenset[TP],
) -> Mapping[TP, int]:
    """Publish what the last owner left, then return the ledger's position of each partition.

    A partition without a ledger gets one at once, where it starts: what Kafka deletes before the first record is read counts as lost.

    Raises:
        RetryLater, KafkaError: a shard or Kafka does not answer; call it again.
    """
    sources = _sources(partitions, topics)
    positions = dict(await outbox.acquire(sources))
    if new := {TP(*source) for source in sources if source not in positions}:
        offsets = await read_offsets(new)
        positions |= await outbox.ledger.open({(tp.topic, tp.partition): first_position(offsets[tp]) for tp in new})
    return {TP(*source): position for source, position in positions.items()}


def _sources(partitions: Iterable[TP], topics: Collection[str]) -> list[Source]:
    return [(tp.topic, tp.partition) for tp in partitions if tp.topic in topics]


def first_position(offsets: PartitionOffsets) -> int:
    """The committed offset, or the beginning if there is none or the topic was made anew since."""
    committed = offsets.committed
    return offsets.beginning if committed is None or committed > offsets.end else committed
