"""A fetch waits long at the broker only if nothing can wait for it, and asks for what is wanted when it leaves."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.protocol.fetch import FetchRequest

from notify_streams.transport import TransportSettings
from notify_streams.transport.fetch_pacing import paced_fetch

TPS = [TopicPartition("t", partition) for partition in range(3)]
SETTINGS = TransportSettings(fetch_gap_s=0.02, fetch_max_wait_ms=50, idle_fetch_max_wait_ms=500)


def request(*partitions: int) -> Any:
    return FetchRequest(50, 1, 1024, 0, [("t", [(partition, 0, 1024) for partition in partitions])], rack_id="")


class Fetcher:
    """aiokafka's, as far as it is asked: one broker has every partition but those of `elsewhere`."""

    def __init__(self, wanted: tuple[int, ...] = (), elsewhere: frozenset[int] = frozenset()) -> None:
        self._in_flight = {1}
        self._wanted = wanted
        self._elsewhere = elsewhere
        self.left: list[Any] = []

    def _select_read_replica(self, tp: TopicPartition) -> int:
        return 2 if tp.partition in self._elsewhere else 1

    def _get_actions_per_node(self, assignment: Any) -> tuple[Any, ...]:
        assert 1 not in self._in_flight, "aiokafka makes no request for a broker that has one"
        return ([(1, request(*self._wanted))] if self._wanted else [], {}, 0.0, False, [])

    async def _proc_fetch_request(self, assignment: Any, node_id: int, asked: Any) -> bool:
        self.left.append((asked._max_wait_ms, [partition for partition, *_ in asked.topics[0][1]]))
        return True


def assignment(active: bool = True) -> Any:
    return SimpleNamespace(tps=TPS, active=active)


@pytest.mark.parametrize(
    ("partitions", "elsewhere", "wait_ms"),
    [
        pytest.param((0, 1, 2), frozenset(), 500, id="all of them"),
        pytest.param((0, 2), frozenset(), 50, id="one is left out"),
        pytest.param((0, 2), frozenset({1}), 500, id="all that this broker has"),
    ],
)
async def test_only_a_fetch_that_leaves_nothing_out_waits_long(
    partitions: tuple[int, ...], elsewhere: frozenset[int], wait_ms: int
) -> None:
    fetcher = Fetcher(elsewhere=elsewhere)
    assert await paced_fetch(fetcher, SETTINGS)(assignment(), 1, request(*partitions))
    assert fetcher.left == [(wait_ms, list(partitions))]


async def test_what_was_taken_in_the_gap_is_asked_for_with_it() -> None:
    fetcher = Fetcher(wanted=(0, 1, 2))
    fetch = paced_fetch(fetcher, SETTINGS)
    await fetch(assignment(), 1, request(0, 1))
    await fetch(assignment(), 1, request(0, 1))
    assert fetcher.left == [(50, [0, 1]), (500, [0, 1, 2])]
    assert fetcher._in_flight == {1}


@pytest.mark.parametrize(("wanted", "active"), [((), True), ((0, 1, 2), False)], ids=["none anew", "unassigned"])
async def test_without_another_request_the_one_that_was_made_leaves(wanted: tuple[int, ...], active: bool) -> None:
    fetcher = Fetcher(wanted=wanted)
    fetch = paced_fetch(fetcher, SETTINGS)
    for _ in range(2):
        await fetch(assignment(active), 1, request(0, 1))
    assert fetcher.left == [(50, [0, 1])] * 2
