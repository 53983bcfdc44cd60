"""A row of the table of faults says what does not hold."""

from __future__ import annotations

import dataclasses

import pytest

from devtools.faults.cases import BY_NAME, FAULTS
from devtools.faults.measures import Row, misses
from devtools.faults.witnesses import Seen
from tests.unit.monitoring.test_alerts import ALERTS

FAULT = BY_NAME["shard"]
AT_ONCE = Seen(5.0, "shard 1 does not answer")
GOOD = Row(
    FAULT.name,
    FAULT.title,
    page=AT_ONCE,
    alert=AT_ONCE,
    doctor=AT_ONCE,
    why="now in us: shard 1 does not answer",
    log="push-3: ERROR",
    gone=AT_ONCE,
    quiet=AT_ONCE,
    alert_ended=AT_ONCE,
    last_hour="shard 1 did not answer",
)


def test_a_fault_that_all_name_in_time_holds() -> None:
    assert misses(FAULT, GOOD) == []


@pytest.mark.parametrize(
    ("changes", "miss"),
    [
        ({"page": Seen(31.0, "")}, "the page's first line names it: after 31 s"),
        ({"alert": None}, "the alert fires: never"),
        ({"doctor": Seen(45.0, "")}, "doctor names it: after 45 s"),
        ({"gone": None}, "the page no longer names it after its end: never"),
        ({"quiet": Seen(61.0, "")}, "nothing is wrong now after its end: after 61 s"),
        ({"alert_ended": None}, "the alert ends: never"),
        ({"last_hour": None}, "the last hour does not tell it"),
        ({"why": "no notification"}, "why does not name it"),
        ({"log": None}, "no line of a log names it"),
    ],
)
def test_each_miss_is_said(changes: dict[str, object], miss: str) -> None:
    assert misses(FAULT, dataclasses.replace(GOOD, **changes)) == [miss]  # type: ignore[arg-type]


def test_there_are_twelve_faults_and_their_alerts_exist() -> None:
    assert len(FAULTS) == len(BY_NAME) == 12
    assert {alert for fault in FAULTS for alert in fault.alerts} <= ALERTS.keys()
