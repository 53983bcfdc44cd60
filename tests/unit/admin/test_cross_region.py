"""The audit of several regions: forwarded triggers arrived, no user is notified by two regions."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from notify_streams.admin.audit.compare import Difference
from notify_streams.admin.audit.cross_region import RegionComparison
from notify_streams.admin.audit.region_part import RegionPart
from notify_streams.admin.audit.snapshot import DeliverySnapshot, ProviderAcceptance, RegionSnapshot
from notify_streams.regions.failover.protocol import ControlRecord


@dataclass
class ARegion:
    """A region, and all that it holds as one part."""

    snapshot: RegionSnapshot
    part: RegionPart


def handed(*sources: str, at: float = 50.0) -> dict[str, tuple[int, float]]:
    """Triggers of partition 3, forwarded at `at`."""
    return dict.fromkeys(sources, (3, at))


def a_region(name: str, waiting_for: dict[str, int] | None = None, **but: Any) -> ARegion:
    return ARegion(RegionSnapshot(name, waiting_for=waiting_for or {}, has_log="accepted" in but), RegionPart(**but))


def differences(*regions: ARegion) -> list[Difference]:
    comparison = RegionComparison({one.snapshot.region: one.snapshot for one in regions})
    comparison.add({one.snapshot.region: one.part for one in regions})
    return list(comparison.differences())


def checks(*regions: ARegion) -> list[tuple[str, str, bool]]:
    return [(one.check, one.where, one.in_flight) for one in differences(*regions)]


def test_a_trigger_that_arrived_is_no_difference() -> None:
    us = a_region("us", handed_to={"eu": handed("a", "b")})
    assert checks(us, a_region("eu", arrived={"a", "b", "of asia"})) == []


def test_a_waiting_trigger_is_in_flight_and_a_lost_one_is_a_difference() -> None:
    us = a_region("us", {"eu": 1}, handed_to={"eu": handed("a", "b")})
    assert checks(us, a_region("eu", arrived={"a"})) == [("forwarded and not arrived", "us -> eu", True)]
    us.snapshot.waiting_for = {}
    assert checks(us, a_region("eu", arrived={"a"})) == [("forwarded and not arrived", "us -> eu", False)]


def test_what_retention_has_deleted_in_the_other_region_is_not_compared() -> None:
    us, eu = a_region("us", handed_to={"eu": handed("a", at=99.0)}), a_region("eu")
    eu.snapshot.held_since["triggers.forwarded", 3] = 100.0
    assert checks(us, eu) == []
    eu.snapshot.held_since = {("triggers.forwarded", 2): 100.0}
    assert checks(us, eu) == [("forwarded and not arrived", "us -> eu", False)]


def test_all_parts_are_compared_together() -> None:
    us, eu = a_region("us", {"eu": 1}), a_region("eu")
    comparison = RegionComparison({one.snapshot.region: one.snapshot for one in (us, eu)})
    for lost in ("b", "a"):
        comparison.add(
            {"us": RegionPart(handed_to={"eu": handed(lost, f"{lost}2")}), "eu": RegionPart(arrived={f"{lost}2"})}
        )
    (found,) = comparison.differences()
    assert (found.expected, found.found, found.example, found.in_flight) == (4, 2, "a", False)


def test_a_region_without_a_snapshot_is_not_compared() -> None:
    assert checks(a_region("us", handed_to={"eu": handed("a")})) == []


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
    eu.snapshot.changes = us.snapshot.changes = CHANGES
    found = [(one.check, one.repeated) for one in differences(eu, us)]
    wanted = [("repeated across a change of who serves", True)]
    assert found == (wanted if repeated else [("notified in two regions", False), ("accepted in two regions", False)])
