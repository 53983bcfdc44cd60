"""Decides at which position each newly assigned partition starts.

Faust resumes source partitions before it seeks them, clears every queue afterwards, and so loses what was fetched in between
(`faust/tables/recovery.py`). Here nothing is fetched before its start position is known.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from aiokafka.errors import KafkaError
from faust.types import TP

from notify_streams import tasks
from notify_streams.transport.app_state import AssignedHook, StartPositions
from notify_streams.transport.fetch_thread import PartitionOffsets

log = logging.getLogger(__name__)

_RETRY_S = 0.5

_TRANSIENT: tuple[type[Exception], ...] = (KafkaError, OSError, TimeoutError)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class StartPosition:
    """Where a partition starts, and what is committed for it."""

    position: int
    committed: int | None
    #: Positions before it that were next and that Kafka has deleted.
    lost: int = 0


async def prepare(tps: frozenset[TP], hooks: Sequence[AssignedHook], retry_s: float = _RETRY_S) -> None:
    """Run the hooks on a whole assignment until all have succeeded. Cancel it at a revocation."""
    await _until_it_succeeds(lambda: tasks.all_ended(hook(tps) for hook in hooks), tps, retry_s, _TRANSIENT, set())


async def decide_start_positions(
    tps: frozenset[TP],
    read_offsets: Callable[[Collection[TP]], Awaitable[Mapping[TP, PartitionOffsets]]],
    found: StartPositions | None,
    from_beginning: bool,
    held_up: set[TP],
    retry_s: float = _RETRY_S,
) -> dict[TP, StartPosition]:
    """Ask `found`, then read the offsets, each until it succeeds; cancel it at a revocation.

    The offsets last, because a position that was read after them could be beyond their end. What `found` has read it may own: it is not
    asked again when the offsets cannot be read.

    Args:
        held_up: has these partitions while a service that does not answer is the reason why they have not started.
    """

    wanted: Mapping[TP, int] = {}
    if found is not None:
        transient = _TRANSIENT + found.transient
        wanted = await _until_it_succeeds(partial(found.read, tps), tps, retry_s, transient, held_up)
    offsets = await _until_it_succeeds(partial(read_offsets, tps), tps, retry_s, _TRANSIENT, held_up)
    return start_positions(offsets, wanted, from_beginning)


def groups(tps: Iterable[TP], group_of: Callable[[TP], Hashable] | None) -> list[frozenset[TP]]:
    """Partitions that start together; all, without `group_of`."""
    found: dict[Hashable, set[TP]] = {}
    for tp in tps:
        found.setdefault(None if group_of is None else group_of(tp), set()).add(tp)
    return [frozenset(one) for one in found.values()]


async def _until_it_succeeds(
    call: Callable[[], Awaitable[Result]],
    tps: frozenset[TP],
    retry_s: float,
    transient: tuple[type[Exception], ...],
    held_up: set[TP],
) -> Result:
    while True:
        try:
            result = await call()
            held_up -= tps
            return result
        except transient as error:
            held_up |= tps
            log.warning(
                "partitions cannot start yet, will be retried",
                extra={"action": "partitions.start_retry", "count": len(tps), "error": error},
            )
        except Exception:
            held_up -= tps
            log.exception(
                "a hook on assigned partitions failed, will be called again", extra={"action": "assigned_hook.retry"}
            )
        await asyncio.sleep(retry_s)


def start_positions(
    offsets: Mapping[TP, PartitionOffsets], wanted: Mapping[TP, int], from_beginning: bool
) -> dict[TP, StartPosition]:
    """The hooks' position, else the committed one, else the beginning (or end); always one that Kafka has."""
    return {tp: _start_position(tp, found, wanted.get(tp), from_beginning) for tp, found in offsets.items()}


def _start_position(tp: TP, offsets: PartitionOffsets, wanted: int | None, from_beginning: bool) -> StartPosition:
    position = wanted if wanted is not None else offsets.committed
    if position is None:
        return StartPosition(offsets.beginning if from_beginning else offsets.end, offsets.committed)
    where = {"topic": tp.topic, "partition": tp.partition, "position": position}
    if position > offsets.end:
        log.error(
            "the start position is beyond the end: the topic was recreated or truncated; reading from its beginning",
            extra={"action": "partition.start_beyond_end", **where, "end": offsets.end},
        )
        return StartPosition(offsets.beginning, None)
    if position < offsets.beginning:
        log.error(
            "records between the start position and the beginning were deleted by retention and never processed",
            extra={"action": "partition.start_deleted", **where, "beginning": offsets.beginning},
        )
    start = max(position, offsets.beginning)
    return StartPosition(start, offsets.committed, start - position)
