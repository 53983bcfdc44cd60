"""The books of several regions: what one handed over another has, and nobody is notified from two."""

from notify_streams.ops.audit.between import between
from notify_streams.ops.audit.facts import Accepted, Delivery, RegionFacts


def a_region(name, **but) -> RegionFacts:
    return RegionFacts(name, **but)


def checks(*regions: RegionFacts) -> list[tuple[str, str, bool]]:
    return [(one.check, one.where, one.in_flight) for one in between({facts.region: facts for facts in regions})]


def test_what_arrived_is_no_difference_however_often_it_came():
    us = a_region("us", handed_to={"eu": {"a", "b"}})
    assert checks(us, a_region("eu", arrived={"a", "b", "of asia"})) == []


def test_what_waits_on_the_way_is_in_flight_and_what_is_gone_is_a_difference():
    us = a_region("us", handed_to={"eu": {"a", "b"}}, waiting_for={"eu": 1})
    assert checks(us, a_region("eu", arrived={"a"})) == [("forwarded and not arrived", "us -> eu", True)]
    us.waiting_for = {}
    assert checks(us, a_region("eu", arrived={"a"})) == [("forwarded and not arrived", "us -> eu", False)]


def test_of_a_region_that_was_not_looked_at_nothing_is_said():
    assert checks(a_region("us", handed_to={"eu": {"a"}})) == []


def test_a_person_notified_by_two_regions_is_a_difference():
    us = a_region("us", deliveries={"push": {"d": Delivery("sent", 1)}})
    eu = a_region("eu", deliveries={"cric_push": {"d": Delivery("queued", 0)}})
    assert checks(us, eu) == [("notified in two regions", "us and eu", False)]


def test_a_delivery_that_two_regions_providers_took_is_a_difference():
    us, eu = (a_region(name, accepted={"d": Accepted(1)}) for name in ("us", "eu"))
    assert checks(us, eu) == [("accepted in two regions", "us and eu", False)]
