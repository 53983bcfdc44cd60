"""Ties an outbox to an application: its lifecycle, and where its partitions start."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from notify_streams.transport import on_assigned, on_revoked
from notify_streams.transport.app_state import app_state
from notify_streams.transport.consumer import batched_consumer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from faust.types import TP, AppT

    from notify_streams.outbox.outbox import Outbox
    from notify_streams.transport.fetch_thread import PartitionOffsets


def attach_outbox(app: AppT, outbox: Outbox, topics: Collection[str]) -> None:
    """Start and stop `outbox` with the app. The ledger says where the partitions of `topics` start."""
    app_state(app).lifecycles.append((outbox.start, outbox.stop))
    on_assigned(app, partial(start_positions, outbox, topics, lambda tps: batched_consumer(app).partition_offsets(tps)))
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
    sources = {(tp.topic, tp.partition): tp for tp in partitions if tp.topic in topics}
    positions = dict(await outbox.on_assigned(sources))
    new = {source: tp for source, tp in sources.items() if source not in positions}
    if new:
        offsets = await read_offsets(new.values())
        starts = {source: first_position(offsets[tp]) for source, tp in new.items()}
        positions |= await outbox.ledger.open(starts)
    return {sources[source]: position for source, position in positions.items()}


def first_position(offsets: PartitionOffsets) -> int:
    """The committed offset, or the beginning if there is none or the topic was made anew since."""
    committed = offsets.committed
    return offsets.beginning if committed is None or committed > offsets.end else committed
