"""One line when a problem begins, one when it ends; a clock that is set is named."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from notify_streams.regions.failover.placement_follower import OWN_LOG
from notify_streams.transport import RecoveryProgress, Stuck
from notify_streams.transport.watchdog import Reason
from notify_streams.web.health import health, is_step
from notify_streams.web.health_log import ClockSteps
from notify_streams.web.problem_log import STEP_S, ProblemLog


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    found = [(vars(one)["action"], one.getMessage()) for one in caplog.records]
    caplog.clear()
    return found


@pytest.fixture(autouse=True)
def every_level(caplog: pytest.LogCaptureFixture) -> Any:
    with caplog.at_level(logging.INFO, "notify_streams"):
        yield


def test_a_problem_is_one_line_at_its_begin_and_one_at_its_end(caplog: pytest.LogCaptureFixture) -> None:
    log = ProblemLog()
    commit, fcm = "outbox.commit fails for # s", "provider fcm is open"
    log.look({}, 0.0)
    log.look({commit: "outbox.commit fails for 11 s"}, 1.0)
    log.look({commit: "outbox.commit fails for 12 s", fcm: fcm}, 2.0)
    log.look({fcm: fcm}, 3.5)
    log.look({fcm: fcm}, 4.0)
    ended = vars(caplog.records[-1])
    assert lines(caplog) == [
        ("problem.begin", "problem: outbox.commit fails for 11 s"),
        ("problem.begin", "problem: provider fcm is open"),
        ("problem.end", "no longer: outbox.commit fails for 11 s"),
    ]
    assert ended["for_s"] == 2.5


def test_a_step_of_a_start_is_no_problem_while_it_takes_seconds(caplog: pytest.LogCaptureFixture) -> None:
    log = ProblemLog()
    opening = "the assignment and opening of partitions"
    log.look({opening: opening}, 1.0, {opening})
    log.look({opening: opening}, 1.0 + STEP_S, {opening})
    log.look({}, 12.0)
    assert lines(caplog) == []


def test_a_step_of_a_start_that_lasts_is_a_problem_since_it_began(caplog: pytest.LogCaptureFixture) -> None:
    log = ProblemLog()
    log.look({"table t": "t: 0 rows, 9 to go, 0/s, about ?"}, 1.0, {"table t"})
    log.look({"table t": "t: 5 rows, 4 to go, 1/s, about 4 s"}, 12.0, {"table t"})
    log.look({"table t": "t: 6 rows, 3 to go, 1/s, about 3 s"}, 13.0, {"table t"})
    log.look({}, 16.0)
    ended = vars(caplog.records[-1])
    assert lines(caplog) == [
        ("problem.begin", "problem: t: 5 rows, 4 to go, 1/s, about 4 s"),
        ("problem.end", "no longer: t: 5 rows, 4 to go, 1/s, about 4 s"),
    ]
    assert ended["for_s"] == 15.0


def test_only_what_each_start_waits_for_is_a_step() -> None:
    table = RecoveryProgress("user_locations", 0, 12, 0.0, None, False)
    link = "placement: region eu does not answer: read control log: TimeoutError()"
    state = health(
        (), None, is_ready=False, tables=[table], waiting_for=["shard 1 does not answer", link, f"placement: {OWN_LOG}"]
    )
    assert [one for one in state.waiting_for if is_step(state, one)] == [str(table), f"placement: {OWN_LOG}"]
    (opening,) = health((), None, is_ready=False, tables=()).waiting_for
    assert is_step(state, opening)
    stuck = Stuck("table user_locations", Reason.NOT_RECOVERED, 40.0)
    state = health([stuck], None, is_ready=False, tables=[table])
    assert not is_step(state, str(stuck))


@pytest.mark.parametrize(("step_s", "words"), [(3600.0, "set forward"), (-90.0, "set back"), (0.2, None)])
def test_a_step_of_the_clock_is_named(step_s: float, words: str | None, caplog: pytest.LogCaptureFixture) -> None:
    clock = ClockSteps(1_000.0, 50.0)
    clock.look(1_001.0, 51.0)
    clock.look(1_002.0 + step_s, 52.0)
    clock.look(1_003.0 + step_s, 53.0)
    found = caplog.records
    assert len(found) == (0 if words is None else 1)
    if words is not None:
        assert words in found[0].getMessage() and vars(found[0])["by_s"] == step_s
