"""One line when a problem begins, one when it ends; a clock that is set is named."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from notify_streams.web.health_log import ClockSteps
from notify_streams.web.problem_log import ProblemLog


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
