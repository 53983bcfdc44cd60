"""`bench backlog`: no figure without a full account, events apart from the rest, evictions apart from intended ends."""

import struct
from typing import Any

import pytest

from devtools.benchmarks.backlog.group_generations import Generation, Stability, generation_of, stability
from devtools.benchmarks.backlog.report import StandardLoad, WorkerEvent, report
from notify_streams.errors import NotifyError

STANDARD = StandardLoad(20_000.0, 900.0, 100)
QUIET = {"critical": Stability(4, 0, 0)}


def a_report(took_s: Any, events: Any = (), groups: Any = QUIET, standard: Any = STANDARD) -> Any:
    due = {f"n-{number}": float(number) for number in range(len(took_s))}
    accepted = {f"n-{number}": number + took for number, took in enumerate(took_s)}
    return report(due, accepted, events, groups, standard)


def values(found: Any) -> Any:
    return {one["name"]: one["value"] for one in found["figures"]}


def test_a_critical_trigger_that_never_arrived_leaves_no_figure() -> None:
    with pytest.raises(NotifyError, match=r"critical triggers, without n-1: 1 of 2 .*no figure"):
        report({"n-0": 0.0, "n-1": 1.0}, {"n-0": 0.5}, (), QUIET, STANDARD)


def test_what_happened_around_an_event_is_told_apart() -> None:
    event = WorkerEvent("while a worker was killed", 3.0, 5.0)
    found = values(a_report([0.1, 0.1, 0.1, 1.9, 0.9, 0.8, 0.1], [event]))
    assert found["critical trigger to provider, max"] == 1900
    assert (found["while a worker was killed, p50"], found["while a worker was killed, max"]) == (900, 1900)
    assert found["the rest of the time, max"] == 100


@pytest.mark.parametrize(
    ("but", "holds"),
    [
        ({}, True),
        ({"took_s": [2.1] * 2 + [0.1] * 98}, False),
        ({"took_s": [9.0] + [0.1] * 99}, True),
        ({"groups": {"critical": Stability(5, 1, 0)}}, False),
        ({"groups": {"critical": Stability(4, 0, 0), "standard": Stability(1, 0, 1)}}, False),
        ({"standard": StandardLoad(20_000.0, 900.0, 0)}, False),
    ],
    ids=["all", "p99", "one of a hundred", "an eviction", "a rebalance for nothing", "the backlog ran dry"],
)
def test_it_holds_only_if_all_of_it_does(but: Any, holds: bool) -> None:
    assert a_report(**({"took_s": [0.1] * 100} | but))["holds"] is holds


def a_history(*members: str) -> list[Generation]:
    return [Generation("g", number, frozenset(one.split()), float(number)) for number, one in enumerate(members, 1)]


@pytest.mark.parametrize(
    ("history", "ended", "expected"),
    [
        (a_history("a b", "b", "b c", "c", "c d"), 2, Stability(4, 0, 0)),
        (a_history("a b", "b", "b c"), 0, Stability(2, 1, 0)),
        (a_history("a b", "b c"), 1, Stability(1, 0, 0)),
        (a_history("a b", "a b"), 0, Stability(1, 0, 1)),
        (a_history("a b"), 0, Stability(0, 0, 0)),
        ([], 0, Stability(0, 0, 0)),
    ],
    ids=["killed and rolled", "put out and back", "replaced at once", "for nothing", "quiet", "no such group"],
)
def test_a_member_that_is_gone_and_was_not_ended_was_evicted(history: Any, ended: int, expected: Any) -> None:
    assert stability(history, ended, since=1.0, until=99.0) == expected


def test_what_happened_before_and_after_does_not_count() -> None:
    history = a_history("a", "a b", "a b c", "a b", "a")
    assert stability(history, 0, since=2.5, until=4.0) == Stability(2, 1, 0)


def text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()


def a_group_record(*members: str) -> tuple[bytes, bytes]:
    key = struct.pack(">h", 2) + text("notify-us-critical")
    one = [
        text(name) + struct.pack(">h", -1) + text("faust") + text("/host") + struct.pack(">ii", 1, 2)
        for name in members
    ]
    each = b"".join(member + struct.pack(">i", 3) + b"sub" + struct.pack(">i", 4) + b"assi" for member in one)
    head = struct.pack(">h", 3) + text("consumer") + struct.pack(">i", 7) + text("faust") + text("m-1")
    return key, head + struct.pack(">q", 123) + struct.pack(">i", len(members)) + each


def test_a_group_record_names_its_generation_and_members() -> None:
    assert generation_of(*a_group_record("m-1", "m-2"), 5.0) == Generation(
        "notify-us-critical", 7, frozenset(("m-1", "m-2")), 5.0
    )


def test_other_records_of_the_topic_say_nothing_of_a_group() -> None:
    key, value = a_group_record("m-1")
    assert generation_of(struct.pack(">h", 1) + text("notify-us-critical"), value, 5.0) is None
    assert generation_of(key, None, 5.0) is None


def test_a_version_that_is_not_known_is_no_quiet_group() -> None:
    key, value = a_group_record("m-1")
    with pytest.raises(ValueError, match="version 9"):
        generation_of(key, struct.pack(">h", 9) + value[2:], 5.0)
