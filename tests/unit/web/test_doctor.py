"""What `doctor` says of a worker."""

from __future__ import annotations

from typing import Any

import msgspec

from notify_streams.web.doctor import Finding, findings_of
from notify_streams.web.health import Health
from notify_streams.web.peers import Peer
from notify_streams.web.summary import Summary


def a_peer(*waiting_for: str) -> Peer:
    times: Any = {"count": 0, "mean_ms": None, "p50_ms": None, "p99_ms": None, "largest_ms": 10000.0}
    found = {
        "region": "us",
        "role": "push",
        "version": "1",
        "uptime_s": 1.0,
        "health": msgspec.to_builtins(Health(True, not waiting_for, [], list(waiting_for), [])),
        "lag": 7,
        "partitions": 8,
        "redis_trusted": True,
        "unreachable": [],
        "triggers": {},
        "dead_letters": {},
        "deliveries": [],
        "decision": times,
        "to_provider": {},
        "providers": {},
    }
    return Peer("push", "127.0.0.1", 6066, msgspec.convert(found, Summary))


def test_each_reason_of_a_worker_is_a_finding() -> None:
    about = "worker push at 127.0.0.1:6066"
    assert findings_of(a_peer()) == [Finding(about, True, "is ready, 7 records behind")]
    assert [one.text for one in findings_of(a_peer("provider fcm is open", "shard 0 does not answer"))] == [
        "provider fcm is open",
        "shard 0 does not answer",
    ]
    (silent,) = findings_of(Peer("push", "127.0.0.1", 6066, None))
    assert not silent.ok and silent.todo
