"""A partition whose ledger refused this worker is owned anew, whatever the other partitions of its shard wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import pytest

from notify_streams.delivery.delivery_ledger import OwnedLedger, Token
from notify_streams.delivery.ownership import Ownership
from notify_streams.delivery.partition import Partition
from tests.waiting import until


class Ledger:
    def __init__(self) -> None:
        self.acquired: list[int] = []

    async def acquire(self, partitions: Collection[int], token: Token) -> dict[int, OwnedLedger]:
        self.acquired += partitions
        return {
            one: OwnedLedger(partition=one, next_offset=7, claimed_to=9, last_flush="", seen={}) for one in partitions
        }


class Work:
    """`writes` is set while the shard takes writes."""

    def __init__(self) -> None:
        self.writes = asyncio.Event()
        self.added = 0

    def under_way(self, partition: Partition | None = None) -> list[asyncio.Task[None]]:
        return []

    async def settled(self, shard: int | None = None) -> None:
        await self.writes.wait()

    def leave_waiting(self) -> None: ...

    def owned_anew(self) -> None:
        self.added += 1


class Anything:
    """One shard; a clock; events."""

    def of(self, bucket: int) -> int:
        return 0


async def owned_anew(ledger: Ledger, work: Work) -> Ownership:
    """The owner of partition 3, which was refused and is owned anew."""
    other = Anything()
    parts: Any = (other, ledger, other, other, other, work)
    owner = Ownership("push", *parts)
    found = OwnedLedger(partition=3, next_offset=5, claimed_to=5, last_flush="", seen={})
    partition = Partition(found, Token(1), 0, 0.0)
    owner.partitions[3] = partition
    owner.disown(partition)
    await until(lambda: owner.partitions[3] is not partition, within_s=10.0)
    return owner


@pytest.mark.parametrize("takes_writes", [True, False])
async def test_a_partition_is_owned_anew_while_the_shard_refuses_other_writes(takes_writes: bool) -> None:
    ledger, work = Ledger(), Work()
    if takes_writes:
        work.writes.set()
    owner = await owned_anew(ledger, work)
    assert (ledger.acquired, work.added, owner.partitions[3].next_offset) == ([3], 1, 7)
    await owner.stop()


async def test_a_partition_is_owned_anew_after_an_unknown_error() -> None:
    """No restart of the worker would come: a partition that is not owned has no loop that could fail."""

    class FailsOnce(Ledger):
        async def acquire(self, partitions: Collection[int], token: Token) -> dict[int, OwnedLedger]:
            if not self.acquired:
                self.acquired += partitions
                raise LookupError("an unknown error")
            return await super().acquire(partitions, token)

    ledger, work = FailsOnce(), Work()
    work.writes.set()
    owner = await owned_anew(ledger, work)
    assert ledger.acquired == [3, 3]
    await owner.stop()
