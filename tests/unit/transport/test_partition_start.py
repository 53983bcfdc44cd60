"""A partition starts at the hook's position, else at the committed one, and always where Kafka has records."""

import asyncio
from collections.abc import Collection

import pytest
from faust.types import TP

from notify_streams.transport.app_state import PositionHook, StartPositions
from notify_streams.transport.fetch_thread import PartitionOffsets
from notify_streams.transport.partition_start import (
    StartPosition,
    decide_start_positions,
    groups,
    prepare,
    start_positions,
)

TP0 = TP("t", 0)


async def read_offsets(tps: Collection[TP]) -> dict[TP, PartitionOffsets]:
    return {tp: PartitionOffsets(None, 0, 9) for tp in tps}


async def decide(hook: PositionHook | None, *transient: type[Exception]) -> dict[TP, StartPosition]:
    held_up: set[TP] = set()
    found = None if hook is None else StartPositions(hook, lambda tp: None, transient)
    return await decide_start_positions(frozenset([TP0]), read_offsets, found, True, held_up, retry_s=0.0)


@pytest.mark.parametrize(
    ("offsets", "wanted", "expected"),
    [
        pytest.param(PartitionOffsets(7, 0, 9), None, StartPosition(7, 7), id="committed"),
        pytest.param(PartitionOffsets(0, 0, 9), None, StartPosition(0, 0), id="committed at zero"),
        pytest.param(PartitionOffsets(7, 0, 9), 3, StartPosition(3, 7), id="the hook's ledger is behind"),
        pytest.param(PartitionOffsets(7, 0, 9), 9, StartPosition(9, 7), id="the hook's ledger is ahead"),
        pytest.param(PartitionOffsets(None, 4, 9), None, StartPosition(4, None), id="never committed"),
        pytest.param(PartitionOffsets(3, 5, 9), None, StartPosition(5, 3, lost=2), id="deleted by retention"),
        pytest.param(PartitionOffsets(20, 0, 9), None, StartPosition(0, None), id="the topic was recreated"),
    ],
)
def test_start_positions(offsets: PartitionOffsets, wanted: int | None, expected: StartPosition) -> None:
    positions = {} if wanted is None else {TP0: wanted}
    assert start_positions({TP0: offsets}, positions, from_beginning=True) == {TP0: expected}


def test_without_a_commit_and_from_latest_it_starts_at_the_end() -> None:
    found = start_positions({TP0: PartitionOffsets(None, 4, 9)}, {}, from_beginning=False)
    assert found == {TP0: StartPosition(9, None)}


async def test_without_a_hook_it_starts_at_the_committed_offset() -> None:
    assert await decide(None) == {TP0: StartPosition(0, None)}


def test_partitions_of_one_group_start_together() -> None:
    tps = [TP("t", 0), TP("t", 1), TP("u", 2), TP("t", 3)]
    even, odd = {tps[0], tps[2]}, {tps[1], tps[3]}
    assert sorted(groups(tps, lambda tp: tp.partition % 2), key=min) == [even, odd]
    assert groups(tps, None) == [{*tps}]


@pytest.mark.parametrize(
    ("transient", "level"),
    [pytest.param((), "ERROR", id="a fault"), pytest.param((RuntimeError,), "WARNING", id="an outage")],
)
async def test_a_hook_that_fails_is_called_again(
    caplog: pytest.LogCaptureFixture, transient: tuple[type[Exception], ...], level: str
) -> None:
    calls = []

    async def hook(tps: frozenset[TP]) -> dict[TP, int]:
        calls.append(tps)
        if len(calls) == 1:
            raise RuntimeError("the database is away")
        return {TP0: 3}

    assert await decide(hook, *transient) == {TP0: StartPosition(3, None)}
    assert (len(calls), [record.levelname for record in caplog.records]) == (2, [level])


async def test_no_hook_is_called_again_while_it_runs() -> None:
    running = most = calls = 0

    async def recovers(tps: frozenset[TP]) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)  # the failed hook is called again at once, unless all hooks are waited for
        running -= 1

    async def fails_once(tps: frozenset[TP]) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("the database is away")

    await prepare(frozenset([TP0]), [recovers, fails_once], retry_s=0.0)
    assert (most, calls) == (1, 2)


async def test_after_a_cancellation_no_hook_runs() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def recovers(tps: frozenset[TP]) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    deciding = asyncio.ensure_future(prepare(frozenset([TP0]), [recovers]))
    await began.wait()
    deciding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await deciding
    assert ended.is_set()


async def test_the_hook_is_not_called_again_when_the_offsets_cannot_be_read() -> None:
    """It may own what it has read. The offsets are read after it: the position may be beyond an earlier end."""
    calls: list[str] = []

    async def hook(tps: frozenset[TP]) -> dict[TP, int]:
        calls.append("hook")
        return {TP0: 3}

    async def fails_once(tps: Collection[TP]) -> dict[TP, PartitionOffsets]:
        calls.append("offsets")
        if len(calls) == 2:
            raise TimeoutError("Kafka does not answer")
        return await read_offsets(tps)

    held_up: set[TP] = set()
    found = StartPositions(hook, lambda tp: None, ())
    starts = await decide_start_positions(frozenset([TP0]), fails_once, found, True, held_up, retry_s=0.0)
    assert (starts, calls, held_up) == ({TP0: StartPosition(3, None)}, ["hook", "offsets", "offsets"], set())
