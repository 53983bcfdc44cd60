"""The state of a worker follows from its answer, its signs of life, and whether Redis can tell of them."""

from __future__ import annotations

from typing import Any

import pytest

from notify_streams.web.peers import Peer, Peers
from notify_streams.web.verdict.worker_states import worker_statuses
from notify_streams.worker_registration import RegisteredWorker, WorkerEntry
from tests.unit.web.verdict.observations import a_summary

NOW = 10_000.0


def a_peer(silent_s: float = 1.0, **but: Any) -> Peer:
    entry = WorkerEntry("0123456789abcdef", "push", "127.0.0.3", 6071, 4, "1")
    return Peer(RegisteredWorker(entry, NOW - 600, NOW - silent_s), **({"summary": None} | but))


def with_health(**but: Any) -> Peer:
    healthy = {"live": True, "ready": True, "stuck": [], "waiting_for": [], "tables": []}
    return a_peer(summary=a_summary(health=healthy | but))


CASES: dict[str, tuple[Peer, int, bool, str]] = {
    "answers": (with_health(), 0, True, "ready"),
    "waits": (with_health(ready=False, waiting_for=["table x"]), 0, True, "waiting"),
    "says that it is stuck": (with_health(live=False, ready=False, stuck=["push-1"]), 0, True, "stuck"),
    "answers, its registration is old": (with_health(), 0, True, "ready"),
    "starts or ends": (a_peer(failure="refused"), 5, True, "waiting"),
    "was killed": (a_peer(9.0, failure="refused"), 1, True, "gone"),
    "its machine is lost": (a_peer(9.0, failure="unreachable"), 1, True, "gone"),
    "was stopped": (a_peer(9.0, failure="silent"), 1, True, "stuck"),
    "is slow": (a_peer(2.0, failure="silent"), 1, True, "waiting"),
    "killed while Redis is away": (a_peer(900.0, failure="refused"), 3, False, "gone"),
    "missed once while Redis is away": (a_peer(900.0, failure="refused"), 2, False, "waiting"),
}


@pytest.mark.parametrize(("peer", "misses", "signs_count", "state"), CASES.values(), ids=CASES)
def test_states(peer: Peer, misses: int, signs_count: bool, state: str) -> None:
    peers = Peers([peer], NOW)
    (status,) = worker_statuses(peers, {peer.registered.entry.id: misses}, signs_count=signs_count)
    assert status.state == state
    assert bool(status.reasons) == (state in ("waiting", "gone") or peer.summary is None)


def test_a_redis_that_does_not_answer_makes_no_worker_gone() -> None:
    (status,) = worker_statuses(Peers([a_peer(900.0, failure="refused")], None), {}, signs_count=True)
    assert status.state == "waiting"
