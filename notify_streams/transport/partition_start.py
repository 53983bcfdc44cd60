"""Opens newly assigned source partitions: after recovery, after the app's hooks, at a known position.

In: the partitions of one generation. Out: a position for each, and the order to release them. Faust resumes source
partitions before it seeks them and clears every queue afterwards, and so loses what was fetched in between
(`tables/recovery.py: on_recovery_completed`); here nothing is fetched before the position is settled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from aiokafka.errors import KafkaError
from faust.types import TP

from notify_streams.transport.app_state import AssignedHook
from notify_streams.transport.fetch_thread import PartitionOffsets

log = logging.getLogger(__name__)

RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class Start:
    """Where a partition begins."""

    position: int
    committed: int | None


class OffsetReader(Protocol):
    async def partition_offsets(self, tps: Collection[TP]) -> dict[TP, PartitionOffsets]: ...


async def decide_starts(
    tps: frozenset[TP], thread: OffsetReader, hooks: Sequence[AssignedHook], from_beginning: bool
) -> dict[TP, Start]:
    """Run the hooks and decide where each partition starts. Tries until it succeeds; cancel it at a revocation."""
    while True:
        try:
            answers = await _all(hook(tps) for hook in hooks)
            extents = await thread.partition_offsets(tps)
        except (KafkaError, OSError, TimeoutError) as exc:
            log.warning("partitions cannot be opened yet, trying again: %r", exc)
        except Exception:
            log.exception("a hook on assigned partitions failed, trying again")
        else:
            wanted = {tp: position for answer in answers if answer for tp, position in answer.items()}
            return starts(extents, wanted, from_beginning)
        await asyncio.sleep(RETRY_S)


async def _all(running: Iterable[Awaitable[Mapping[TP, int] | None]]) -> list[Mapping[TP, int] | None]:
    """The answers of all, or what the first of them raised once all have ended: none may still run when it is called again."""
    ended = await asyncio.gather(*running, return_exceptions=True)
    answers: list[Mapping[TP, int] | None] = []
    for answer in ended:
        if isinstance(answer, BaseException):
            raise answer
        answers.append(answer)
    return answers


def starts(extents: Mapping[TP, PartitionOffsets], wanted: Mapping[TP, int], from_beginning: bool) -> dict[TP, Start]:
    """The hook's position, else the committed one, else the beginning (or end); always one that Kafka has."""
    return {tp: _start(tp, extent, wanted.get(tp), from_beginning) for tp, extent in extents.items()}


def _start(tp: TP, extent: PartitionOffsets, wanted: int | None, from_beginning: bool) -> Start:
    position = wanted if wanted is not None else extent.committed
    if position is None:
        return Start(extent.beginning if from_beginning else extent.end, extent.committed)
    if position > extent.end:
        log.error(
            "%s starts at %s but ends at %s: the topic was recreated, or truncated. Starting at its beginning %s.",
            tp,
            position,
            extent.end,
            extent.beginning,
        )
        return Start(extent.beginning, None)
    if position < extent.beginning:
        log.error(
            "%s: offsets %s to %s are gone (retention) and were never processed", tp, position, extent.beginning - 1
        )
    return Start(max(position, extent.beginning), extent.committed)
