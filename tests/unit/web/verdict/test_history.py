"""When problems begin and end, over pauses and restarts, and as several workers saw them."""

from __future__ import annotations

from notify_streams.web.verdict.history import HOLD_S, KEPT_S, ProblemHistory
from notify_streams.web.verdict.problem import FoundProblem, ProblemCode

KAFKA = FoundProblem(ProblemCode.KAFKA_DOWN, "Kafka", "Kafka is away.")
GONE = FoundProblem(ProblemCode.WORKER_GONE, "worker push", "It is gone.")
LAG = FoundProblem(ProblemCode.LAG, "role push", "It is behind.")


def observed(*at: float, found: FoundProblem = KAFKA, into: ProblemHistory | None = None) -> ProblemHistory:
    """A history with observations that have found a problem."""
    history = into or ProblemHistory()
    for now in at:
        history.observe(now, [found])
    return history


def test_a_problem_is_told_at_its_second_sight_and_keeps_its_beginning() -> None:
    history = observed(1000.0)
    assert history.verdict(1000.0).now == [] and history.verdict(1000.0).headline == "Everything works."
    observed(1005.0, into=history)
    (problem,) = history.verdict(1005.0).now
    assert problem.since.timestamp() == 1000 and problem.runbook == "notifykafkasilent"
    assert history.verdict(1005.0).headline == KAFKA.text


def test_what_was_observed_over_a_time_already_is_told_at_once() -> None:
    assert [one.code for one in observed(1000.0, found=GONE).verdict(1000.0).now] == [ProblemCode.WORKER_GONE]


def test_one_observation_without_it_ends_nothing_and_its_end_is_in_the_last_hour() -> None:
    history = observed(1000.0, 1005.0)
    history.observe(1010.0, [])
    observed(1015.0, into=history)
    history.observe(1020.0, [])
    assert [one.since.timestamp() for one in history.verdict(1020.0).now] == [1000]
    history.observe(1015.0 + HOLD_S + 1, [])
    verdict = history.verdict(1015.0 + HOLD_S + 1)
    assert verdict.now == [] and verdict.headline == "Everything works."
    (past,) = verdict.last_hour
    assert (past.since.timestamp(), past.ended_at.timestamp()) == (1000, 1015)
    history.observe(1016.0 + KEPT_S, [])
    assert history.verdict(1016.0 + KEPT_S).last_hour == [] and history.episodes() == []


def test_one_that_comes_back_later_is_another_one() -> None:
    history = observed(1000.0, 1005.0)
    history.observe(1050.0, [])
    observed(1100.0, 1105.0, into=history)
    verdict = history.verdict(1105.0)
    assert [one.since.timestamp() for one in verdict.now] == [1100]
    assert [one.ended_at.timestamp() for one in verdict.last_hour] == [1005]


def test_it_goes_on_over_the_restart_of_the_only_observer() -> None:
    before = observed(1000.0, 1005.0)
    after = ProblemHistory()
    after.merge(before.episodes(), before.observed)
    observed(1300.0, into=after)
    assert [one.since.timestamp() for one in after.verdict(1300.0).now] == [1000]


def test_what_ended_before_a_restart_is_told_after_it() -> None:
    before = observed(1000.0, 1005.0)
    before.observe(1100.0, [])
    after = ProblemHistory()
    after.merge(before.episodes(), before.observed)
    observed(1300.0, 1305.0, into=after)
    assert [one.since.timestamp() for one in after.verdict(1305.0).now] == [1300]
    assert [one.ended_at.timestamp() for one in after.verdict(1305.0).last_hour] == [1005]


def test_workers_agree_in_whatever_order_they_merge() -> None:
    one, other = observed(1000.0, 1005.0, 1010.0), observed(1003.0, 1008.0)
    observed(1003.0, 1008.0, found=LAG, into=other)
    both, reverse = ProblemHistory(), ProblemHistory()
    for history, order in ((both, (one, other)), (reverse, (other, one))):
        for part in (*order, order[0]):
            history.merge(part.episodes(), part.observed)
    assert both.verdict(1010.0) == reverse.verdict(1010.0)
    assert [(found.code, found.since.timestamp()) for found in both.verdict(1010.0).now] == [
        (ProblemCode.KAFKA_DOWN, 1000),
        (ProblemCode.LAG, 1003),
    ]


def test_it_is_bounded() -> None:
    history = ProblemHistory()
    history.observe(1000.0, [FoundProblem(ProblemCode.LAG, f"role {number}", "x") for number in range(1000)])
    assert len(history.episodes()) == 200


def test_a_clock_that_is_set_back_ends_no_problem_before_its_beginning() -> None:
    history = observed(1000.0, 1005.0)
    observed(700.0, 705.0, into=history)
    (problem,) = history.verdict(705.0).now
    assert problem.since.timestamp() <= 705
