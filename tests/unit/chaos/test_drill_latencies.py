"""The chaos report's latencies: from the trigger, whose id says when it was made, to the first provider that took it."""

import time

from devtools.chaos.latency import latency_ms
from notify_streams.records.ids import notification_id
from tests.builders import an_acceptance


def timed_id(number):
    return f"c{time.time_ns():x}-{number}"


def accepted(trigger_id, after_s, critical=False, channel="push"):
    done = time.time() + after_s
    return an_acceptance(
        notification_id(trigger_id, "u-1"), channel=channel, at=done - after_s, done=done, critical=critical
    )


def test_each_lane_has_its_quantiles():
    found = latency_ms([accepted(timed_id(n), 0.1 * n, critical=n > 10) for n in range(1, 21)])
    assert {lane: spread["count"] for lane, spread in found.items()} == {"critical": 10, "standard": 10}
    assert 500 <= found["standard"]["p50"] < 700 and 2000 <= found["critical"]["max"] < 2300


def test_a_delivery_counts_once_from_its_first_acceptance():
    identity = timed_id(1)
    found = latency_ms([accepted(identity, 0.1), accepted(identity, 9.0)])
    assert found["standard"]["count"] == 1 and found["standard"]["max"] < 1000


def test_who_is_none_of_the_drills_is_left_out_and_so_is_an_empty_lane():
    assert latency_ms([accepted("campaign-7", 1.0), accepted("018f-1", 1.0), accepted("c-1", 1.0)]) == {}
