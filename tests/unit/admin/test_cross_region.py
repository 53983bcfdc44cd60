"""The audit of several regions: forwarded triggers arrived, no user is notified by two regions."""

from datetime import UTC, datetime
from typing import Any

import pytest

from notify_streams.admin.audit.cross_region import compare_regions
from notify_streams.admin.audit.snapshot import DeliverySnapshot, ProviderAcceptance, RegionSnapshot
from notify_streams.regions.failover.protocol import ControlRecord


def a_region(name: str, **but: Any) -> RegionSnapshot:
    return RegionSnapshot(name, **but)


def checks(*regions: RegionSnapshot) -> list[tuple[str, str, bool]]:
    return [
        (one.check, one.where, one.in_flight)
        for one in compare_regions({snapshot.region: snapshot for snapshot in regions})
    ]


def test_a_trigger_that_arrived_is_no_difference() -> None:
    us = a_region("us", handed_to={"eu": {"a", "b"}})
    assert checks(us, a_region("eu", arrived={"a", "b", "of asia"})) == []


def test_a_waiting_trigger_is_in_flight_and_a_lost_one_is_a_difference() -> None:
    us = a_region("us", handed_to={"eu": {"a", "b"}}, waiting_for={"eu": 1})
    assert checks(us, a_region("eu", arrived={"a"})) == [("forwarded and not arrived", "us -> eu", True)]
    us.waiting_for = {}
    assert checks(us, a_region("eu", arrived={"a"})) == [("forwarded and not arrived", "us -> eu", False)]


def test_a_region_without_a_snapshot_is_not_compared() -> None:
    assert checks(a_region("us", handed_to={"eu": {"a"}})) == []


def test_a_user_notified_by_two_regions_is_a_difference() -> None:
    us = a_region("us", deliveries={"push": {"d": DeliverySnapshot("sent", 1)}})
    eu = a_region("eu", deliveries={"cric_push": {"d": DeliverySnapshot("queued", 0)}})
    assert checks(us, eu) == [("notified in two regions", "us and eu", False)]


def test_a_delivery_accepted_in_two_regions_is_a_difference() -> None:
    us, eu = (a_region(name, accepted={"d": ProviderAcceptance(1)}) for name in ("us", "eu"))
    assert checks(us, eu) == [("accepted in two regions", "us and eu", False)]


#: eu is served by us from 100 on, and by itself again from 200 on.
CHANGES = [
    ControlRecord("eu", 1, "serve", "us", "t", datetime.fromtimestamp(100, UTC)),
    ControlRecord("eu", 2, "serve", "eu", "t", datetime.fromtimestamp(200, UTC)),
]


@pytest.mark.parametrize(
    ("eu_at", "us_at", "repeated"),
    [
        pytest.param(50, 150, True, id="before the failover and during it"),
        pytest.param(250, 150, True, id="during it and after the hand-back"),
        pytest.param(150, 150, False, id="eu decided while us served"),
        pytest.param(50, 50, False, id="us decided before it served"),
        pytest.param(250, 250, False, id="us decided after it had handed back"),
    ],
)
def test_an_id_repeated_across_a_failover_is_counted_and_no_difference(
    eu_at: float, us_at: float, repeated: bool
) -> None:
    eu = a_region(
        "eu",
        deliveries={"push": {"d": DeliverySnapshot("sent", 1, None, eu_at)}},
        accepted={"d": ProviderAcceptance(1)},
    )
    us = a_region(
        "us",
        deliveries={"push": {"d": DeliverySnapshot("sent", 1, None, us_at)}},
        accepted={"d": ProviderAcceptance(1)},
    )
    eu.changes = us.changes = CHANGES
    found = [(one.check, one.repeated) for one in compare_regions({"eu": eu, "us": us})]
    wanted = [("repeated across a change of who serves", True)]
    assert found == (wanted if repeated else [("notified in two regions", False), ("accepted in two regions", False)])
