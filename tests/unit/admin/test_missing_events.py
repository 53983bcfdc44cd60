"""The audit finds an end without an event, as far back as the topic has events."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from notify_streams.admin.audit.compare import Difference, compare
from notify_streams.admin.audit.region_part import RegionPart
from notify_streams.admin.audit.snapshot import RegionSnapshot
from notify_streams.admin.audit.totals import RegionTotals
from tests.builders import some_settings

TOPIC = "notification_events.payments"


def differences(
    at_ms: int, since: dict[int, int], outbox_records: int = 0, former: Sequence[int] = ()
) -> list[Difference]:
    """Of a region with an end in bucket 3 at `at_ms`. `since`: bucket → time of its first event. `former`: its buckets before a growth."""
    snapshot = RegionSnapshot("us", outbox_records=outbox_records, former_buckets={3: former})
    totals = RegionTotals()
    snapshot.events_since = {(TOPIC, bucket): first for bucket, first in since.items()}
    totals.add(
        snapshot, RegionPart(ends={"d:1:sent": (TOPIC, 3, at_ms), "d:2:sent": (TOPIC, 3, at_ms)}, events={"d:2:sent"})
    )
    return [one for one in compare(some_settings(), snapshot, totals) if one.check == "ends without an event"]


@pytest.mark.parametrize(
    ("since", "is_found"),
    [
        pytest.param({3: 10_000}, True, id="later than the first of its partition"),
        pytest.param({3: 90_000}, False, id="before the first that Kafka keeps"),
        pytest.param({1: 10_000}, True, id="its partition has no event at all"),
        pytest.param({}, False, id="the topic is new"),
    ],
)
def test_an_end_without_an_event_is_a_difference(since: dict[int, int], is_found: bool) -> None:
    assert [(one.found, one.example, one.in_flight) for one in differences(50_000, since)] == (
        [(1, "d:1:sent", False)] if is_found else []
    )


def test_events_that_wait_in_the_outbox_are_in_flight() -> None:
    (found,) = differences(50_000, {3: 10_000}, outbox_records=1)
    assert found.in_flight


def test_an_event_of_before_a_growth_is_looked_for_in_the_partition_of_that_time() -> None:
    since = {0: 10_000, 1: 90_000}
    assert differences(50_000, since, former=[0])
    assert not differences(50_000, since, former=[1]), "before the first that Kafka keeps"
