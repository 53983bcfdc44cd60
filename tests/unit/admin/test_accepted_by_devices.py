"""A delivery is accepted once by each device; twice by one, without a mark, is a difference."""

from collections import Counter

import pytest

from notify_streams.admin.audit.compare import compare, summary
from notify_streams.admin.audit.region_part import RegionPart
from notify_streams.admin.audit.snapshot import DeliverySnapshot, ProviderAcceptance, RegionSnapshot
from notify_streams.admin.audit.totals import RegionTotals
from tests.builders import some_settings


@pytest.mark.parametrize(
    ("lines", "checks"),
    [
        pytest.param([("a", False)], [], id="one device"),
        pytest.param([("a", False), ("b", False)], [], id="two devices"),
        pytest.param([("a", False), ("b", False), ("a", True)], [], id="repeated with a mark"),
        pytest.param([("a", True), ("a", True), ("a", False)], [], id="the marks came first"),
        pytest.param([("a", False), ("a", False)], ["accepted twice without a mark"], id="twice"),
        pytest.param(
            [("a", False), ("b", False), ("b", False)], ["accepted twice without a mark"], id="one of two twice"
        ),
    ],
)
def test_an_address_is_called_once_unless_it_is_marked(lines: list[tuple[str, bool]], checks: list[str]) -> None:
    accepted = ProviderAcceptance()
    for to_sha, marked in lines:
        accepted.add(to_sha, marked=marked)
    delivery = DeliverySnapshot("sent", 1)
    snapshot, totals = RegionSnapshot("us", has_log=True), RegionTotals()
    part = RegionPart({"push": {"n.push": delivery}}, {"push": Counter({"n.push": 1})}, accepted={"n.push": accepted})
    totals.add(snapshot, part)
    found = [one.check for one in compare(some_settings(), snapshot, totals) if one.where == "providers"]
    assert found == checks
    numbers = summary(snapshot, totals)
    assert (numbers["accepted"], numbers["repeated_calls"]) == (len(lines), len(lines) - 1)


@pytest.mark.parametrize(
    ("state", "was_accepted", "checks"),
    [
        pytest.param("retrying", True, [], id="one device has it"),
        pytest.param("retrying", False, ["accepted, state under way"], id="none has it"),
        pytest.param("failed", False, ["accepted but not sent"], id="ended otherwise"),
    ],
)
def test_what_one_device_took_may_still_be_retried_for_another(
    state: str, was_accepted: bool, checks: list[str]
) -> None:
    accepted = ProviderAcceptance()
    accepted.add("a", marked=False)
    snapshot, totals = RegionSnapshot("us", has_log=True), RegionTotals()
    deliveries = {"push": {"n.push": DeliverySnapshot(state, 1, was_accepted=was_accepted)}}
    totals.add(snapshot, RegionPart(deliveries, {"push": Counter({"n.push": 1})}, accepted={"n.push": accepted}))
    found = [one.check for one in compare(some_settings(), snapshot, totals) if one.where == "providers"]
    assert found == checks


@pytest.mark.parametrize(
    ("before_restore", "checks"), [(set(), ["accepted but not sent"]), ({"n.push"}, [])], ids=["later", "before"]
)
def test_what_a_provider_took_before_a_restore_need_not_be_in_the_backup(
    before_restore: set[str], checks: list[str]
) -> None:
    accepted = ProviderAcceptance()
    accepted.add("a", marked=False)
    snapshot, totals = RegionSnapshot("us", has_log=True), RegionTotals()
    totals.add(snapshot, RegionPart({}, {}, accepted={"n.push": accepted}, before_restore=before_restore))
    assert [one.check for one in compare(some_settings(), snapshot, totals) if one.where == "providers"] == checks
