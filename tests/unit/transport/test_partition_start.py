"""A partition starts where the hook says, else where it was committed, and always where Kafka has it."""

import asyncio

import pytest
from faust.types import TP

from notify_streams.transport.fetch_thread import PartitionOffsets
from notify_streams.transport.partition_start import Start, decide_starts, starts

TP0 = TP("t", 0)


class Kafka:
    async def partition_offsets(self, tps):
        return {tp: PartitionOffsets(None, 0, 9) for tp in tps}


@pytest.mark.parametrize(
    ("extent", "wanted", "expected"),
    [
        pytest.param(PartitionOffsets(7, 0, 9), None, Start(7, 7), id="committed"),
        pytest.param(PartitionOffsets(0, 0, 9), None, Start(0, 0), id="committed at zero"),
        pytest.param(PartitionOffsets(7, 0, 9), 3, Start(3, 7), id="the hook's ledger is behind"),
        pytest.param(PartitionOffsets(7, 0, 9), 9, Start(9, 7), id="the hook's ledger is ahead"),
        pytest.param(PartitionOffsets(None, 4, 9), None, Start(4, None), id="never committed"),
        pytest.param(PartitionOffsets(3, 5, 9), None, Start(5, 3), id="deleted by retention"),
        pytest.param(PartitionOffsets(20, 0, 9), None, Start(0, None), id="the topic was recreated"),
    ],
)
def test_starts(extent: PartitionOffsets, wanted: int | None, expected: Start) -> None:
    assert starts({TP0: extent}, {} if wanted is None else {TP0: wanted}, from_beginning=True) == {TP0: expected}


def test_without_a_commit_and_from_latest_it_starts_at_the_end() -> None:
    assert starts({TP0: PartitionOffsets(None, 4, 9)}, {}, from_beginning=False) == {TP0: Start(9, None)}


async def test_a_hook_that_fails_is_called_again() -> None:
    calls = []

    async def hook(tps: frozenset[TP]) -> dict[TP, int]:
        calls.append(tps)
        if len(calls) == 1:
            raise RuntimeError("the database is away")
        return {TP0: 3}

    assert await decide_starts(frozenset([TP0]), Kafka(), [hook], True) == {TP0: Start(3, None)}
    assert len(calls) == 2


async def test_no_hook_is_called_again_while_it_runs() -> None:
    running = most = calls = 0

    async def recovers(tps: frozenset[TP]) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.6)  # longer than the pause before the next try
        running -= 1

    async def fails_once(tps: frozenset[TP]) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("the database is away")

    await decide_starts(frozenset([TP0]), Kafka(), [recovers, fails_once], True)
    assert (most, calls) == (1, 2)


async def test_a_cancelled_settling_leaves_no_hook_running() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def recovers(tps: frozenset[TP]) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    settling = asyncio.ensure_future(decide_starts(frozenset([TP0]), Kafka(), [recovers], True))
    await began.wait()
    settling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await settling
    assert ended.is_set()
