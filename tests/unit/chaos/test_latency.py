"""The latencies in the report of the fault tests."""

import time

from devtools.chaos.latency import latency_ms
from notify_streams.admin.audit.provider_log import AcceptedMessage
from notify_streams.records.ids import notification_id
from tests.builders import an_acceptance


def trigger_id(number: int) -> str:
    return f"c{time.time_ns():x}-{number}"


def accepted(trigger: str, after_s: float, critical: bool = False) -> AcceptedMessage:
    done = time.time() + after_s
    return an_acceptance(
        notification_id(trigger, "u-1", "payments"), channel="push", at=done - after_s, done=done, critical=critical
    )


def test_each_lane_has_its_percentiles() -> None:
    found = latency_ms([accepted(trigger_id(n), 0.1 * n, critical=n > 10) for n in range(1, 21)])
    assert {lane: percentiles["count"] for lane, percentiles in found.items()} == {"critical": 10, "standard": 10}
    assert 500 <= found["standard"]["p50"] < 700 and 2000 <= found["critical"]["max"] < 2300


def test_a_delivery_counts_once_from_its_first_acceptance() -> None:
    trigger = trigger_id(1)
    found = latency_ms([accepted(trigger, 0.1), accepted(trigger, 9.0)])
    assert found["standard"]["count"] == 1 and found["standard"]["max"] < 1000


def test_triggers_of_other_senders_and_empty_lanes_are_left_out() -> None:
    assert latency_ms([accepted("campaign-7", 1.0), accepted("018f-1", 1.0), accepted("c-1", 1.0)]) == {}
