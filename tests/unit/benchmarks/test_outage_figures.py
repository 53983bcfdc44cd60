"""`bench outages`: what the policy explains, what came too early, when the rate was back, no figure without a full account."""

from typing import Any

import pytest

from devtools.benchmarks.outages.calls import back_after_s, calls_in_vain, early_calls, first_fault
from devtools.benchmarks.outages.cases import OUTAGES, Outage
from devtools.benchmarks.outages.policy import explained_calls
from devtools.benchmarks.outages.report import OUTAGE, RECOVERY, CriticalLatency, OutageResult, report
from devtools.sandbox.call_log import ReceivedCall
from notify_streams.errors import NotifyError

RATE = 300.0
#: As many as the admission lets begin together at this rate.
GROUP = 75


def an_outage(name: str) -> Outage:
    return next(one for one in OUTAGES if one.name == name)


def explained(name: str, seconds: float, max_in_flight: int = 256) -> int:
    return explained_calls(an_outage(name), seconds, RATE, max_in_flight, timeout_s=5.0)


@pytest.mark.parametrize(
    ("name", "seconds", "calls"),
    [
        ("503", 0.9, GROUP),
        ("503", 2.0, GROUP + 1),
        ("503", 4.0, GROUP + 2),
        ("503", 14.0, GROUP + 3),
        # After 1, 3, 7 and 15 s, then every 10 s.
        ("503", 60.0, GROUP + 8),
        ("429", 29.0, GROUP),
        ("429", 31.0, GROUP + 1),
        ("429", 119.0, GROUP + 3),
    ],
)
def test_after_the_breaker_opened_one_call_a_period_is_explained(name: str, seconds: float, calls: int) -> None:
    assert explained(name, seconds) == calls


def test_calls_without_an_answer_are_explained_up_to_the_workers_limit() -> None:
    assert explained("time-outs", 1.9) == 256
    # The first probe needs a free place: the calls end after 5 s.
    assert explained("time-outs", 5.0) == 256
    assert explained("time-outs", 6.0) == 257


def test_few_connections_explain_few_calls() -> None:
    # The breaker remembers 20 results and opens at 10 failures. Until then another call begins whenever one ends.
    assert [explained("SMTP 451", 0.9, calls) for calls in (8, 16)] == [8 + 9, 16 + 9]


def a_call(at: float, delivery: str = "d", action: str = "fail") -> ReceivedCall:
    return ReceivedCall(at, "fcm", delivery, action)


def test_every_call_but_the_first_acceptance_of_a_delivery_is_in_vain() -> None:
    calls = [a_call(1), a_call(2, action="accept and lose answer"), a_call(3, action="accept"), a_call(4, "e")]
    assert calls_in_vain(calls) == 3
    assert (first_fault(calls), first_fault([])) == (1, None)


def test_a_delivery_is_not_tried_again_before_its_delay() -> None:
    assert early_calls([a_call(0), a_call(9.9, action="accept")], 10.0, None) == 1
    assert early_calls([a_call(0), a_call(10.1), a_call(15, "other")], 10.0, None) == 0
    assert early_calls([a_call(0, action="accept"), a_call(1, action="accept")], 10.0, None) == 0


def test_no_delivery_is_called_before_the_time_that_the_provider_asked_for() -> None:
    under_way = [a_call(0, "a"), a_call(0.1, "b"), a_call(0.9, "c")]
    assert early_calls([*under_way, a_call(31.0, "e")], 10.0, 30.0) == 0
    assert early_calls([*under_way, a_call(2.0, "e", "accept")], 10.0, 30.0) == 1
    # Each answer asks again.
    assert early_calls([*under_way, a_call(31.0, "e"), a_call(40.0, "f"), a_call(71.0, "g")], 10.0, 30.0) == 1


def test_the_rate_is_back_at_the_end_of_the_first_two_seconds_with_nine_tenths_of_it() -> None:
    slow = [number / 100 for number in range(1000)]
    fast = [10 + number / 300 for number in range(3000)]
    found = back_after_s(slow + fast, since=5.0, until=20.0, rate=RATE)
    assert found is not None and 6.6 < found < 6.9
    assert back_after_s(slow, since=0.0, until=10.0, rate=RATE) is None
    assert back_after_s(fast, since=10.0, until=11.0, rate=RATE) is None


USUAL: dict[str, Any] = {
    "name": "503",
    "triggers": 100,
    "states": {"sent": 90, "expired": 10},
    "retrying": 5,
    "calls": 150,
    "attempts": 150,
    "in_vain": 60,
    "explained": 60,
    "early": 0,
    "opened_s": 0.5,
    "back_s": 12.0,
    "critical": {phase: CriticalLatency(50.0, 45.0, 0.1) for phase in (OUTAGE, RECOVERY)},
}


def a_result(**but: Any) -> OutageResult:
    return OutageResult(**(USUAL | but))


@pytest.mark.parametrize(
    ("but", "holds"),
    [
        ({}, True),
        ({"states": {"sent": 89, "expired": 10, "failed": 1}}, False),
        ({"in_vain": 67}, False),
        ({"calls": 166, "attempts": 166}, False),
        ({"attempts": 149}, False),
        ({"early": 1}, False),
        ({"opened_s": 5.1}, False),
        ({"opened_s": None}, False),
        ({"back_s": 30.1}, False),
        ({"back_s": None}, False),
        ({"critical": USUAL["critical"] | {RECOVERY: CriticalLatency(57.0, 45.0, 0.1)}}, False),
    ],
    ids=[
        *("all", "a failure", "calls in vain", "calls", "a call without an attempt", "a call too early"),
        *("open late", "never open", "back late", "never back", "critical triggers are late"),
    ],
)
def test_it_holds_only_if_all_of_it_does(but: Any, holds: bool) -> None:
    assert report([a_result(), a_result(**but)])["holds"] is holds


@pytest.mark.parametrize("states", [{"sent": 99}, {"sent": 99, "suppressed": 1}], ids=["missing", "not sent"])
def test_a_trigger_that_is_unaccounted_for_leaves_no_figure(states: dict[str, int]) -> None:
    with pytest.raises(NotifyError, match=r"503.* 99 of 100 .*no figure"):
        report([a_result(states=states)])


def test_the_table_has_a_line_for_each_outage_and_one_for_each_goal_that_is_missed() -> None:
    lines = [row["line"] for row in report([a_result(), a_result(name="401", back_s=None)])["table"]]
    assert [line.split()[0] for line in lines] == ["outage", "503", "401", "misses:"]
    assert "never" in lines[2]
    assert "401: rate back after" in lines[3]
