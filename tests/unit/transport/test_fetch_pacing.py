"""Only a fetch of all partitions waits long at the broker; a delayed fetch has the partitions wanted at the end of the delay."""

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
    """A fake of aiokafka's: broker 1 has every partition but those `on_other`."""

    def __init__(self, wanted: tuple[int, ...] = (), on_other: frozenset[int] = frozenset()) -> None:
        self._in_flight = {1}
        self._wanted = wanted
        self._on_other = on_other
        self.sent: list[Any] = []

    def _select_read_replica(self, tp: TopicPartition) -> int:
        return 2 if tp.partition in self._on_other else 1

    def _get_actions_per_node(self, assignment: Any) -> tuple[Any, ...]:
        assert 1 not in self._in_flight, "aiokafka makes no request for a broker that has one"
        return ([(1, request(*self._wanted))] if self._wanted else [], {}, 0.0, False, [])

    async def _proc_fetch_request(self, assignment: Any, node_id: int, request: Any) -> bool:
        self.sent.append((request._max_wait_ms, [partition for partition, *_ in request.topics[0][1]]))
        return True


def assignment(active: bool = True) -> Any:
    return SimpleNamespace(tps=TPS, active=active)


@pytest.mark.parametrize(
    ("partitions", "on_other", "wait_ms"),
    [
        pytest.param((0, 1, 2), frozenset(), 500, id="all of them"),
        pytest.param((0, 2), frozenset(), 50, id="one is left out"),
        pytest.param((0, 2), frozenset({1}), 500, id="all that this broker has"),
    ],
)
async def test_only_a_fetch_that_leaves_nothing_out_waits_long(
    partitions: tuple[int, ...], on_other: frozenset[int], wait_ms: int
) -> None:
    fetcher = Fetcher(on_other=on_other)
    assert await paced_fetch(fetcher, SETTINGS)(assignment(), 1, request(*partitions))
    assert fetcher.sent == [(wait_ms, list(partitions))]


async def test_a_delayed_fetch_includes_partitions_drained_meanwhile() -> None:
    fetcher = Fetcher(wanted=(0, 1, 2))
    fetch = paced_fetch(fetcher, SETTINGS)
    await fetch(assignment(), 1, request(0, 1))
    await fetch(assignment(), 1, request(0, 1))
    assert fetcher.sent == [(50, [0, 1]), (500, [0, 1, 2])]
    assert fetcher._in_flight == {1}


@pytest.mark.parametrize(("wanted", "active"), [((), True), ((0, 1, 2), False)], ids=["no newer request", "unassigned"])
async def test_a_delayed_fetch_without_a_newer_request_is_sent_as_it_was(wanted: tuple[int, ...], active: bool) -> None:
    fetcher = Fetcher(wanted=wanted)
    fetch = paced_fetch(fetcher, SETTINGS)
    for _ in range(2):
        await fetch(assignment(active), 1, request(0, 1))
    assert fetcher.sent == [(50, [0, 1])] * 2
