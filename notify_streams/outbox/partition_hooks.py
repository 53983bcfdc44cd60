"""Ties an outbox to an application: its lifecycle, and where its partitions start."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from notify_streams.transport import on_assigned, on_revoked
from notify_streams.transport.app_state import app_state

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from faust.types import TP, AppT

    from notify_streams.outbox.outbox import Outbox


def attach_outbox(app: AppT, outbox: Outbox, topics: Collection[str]) -> None:
    """Start and stop `outbox` with the app. The ledger says where the partitions of `topics` start."""
    app_state(app).lifecycles.append((outbox.start, outbox.stop))
    on_assigned(app, partial(start_positions, outbox, topics))
    on_revoked(app, lambda _: outbox.on_revoked())


async def start_positions(outbox: Outbox, topics: Collection[str], partitions: frozenset[TP]) -> Mapping[TP, int]:
    """Publish what the last owner left, then return the ledger's position of each partition that has one.

    Raises:
        RetryLater: a shard or Kafka does not answer; call it again.
    """
    sources = {(tp.topic, tp.partition): tp for tp in partitions if tp.topic in topics}
    positions = await outbox.on_assigned(sources)
    return {sources[source]: position for source, position in positions.items()}
