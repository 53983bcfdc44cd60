"""A delivery to several devices is open while a call has no end, then sent if one took it; only calls without an end are made again."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.delivery.attempts import Attempt, DeviceOutcome, Phase, Rank, attempt_document, unpack
from notify_streams.delivery.device_results import device_outcomes, is_reached, merged, remaining
from notify_streams.delivery.providers import DeviceResult, ProviderOutcome, ProviderResult
from notify_streams.records.devices import Device, token_sha

ENDS = [one for one in ProviderOutcome if one not in (ProviderOutcome.ACCEPTED, ProviderOutcome.RETRY)]


def a_result(outcome: ProviderOutcome, token: str = "t", **but: Any) -> DeviceResult:
    return DeviceResult(token, ProviderResult(outcome=outcome, **({"provider": "fcm"} | but)))


@given(st.lists(st.sampled_from(ProviderOutcome), min_size=1, max_size=10))
def test_the_delivery_is_retried_while_one_may_take_it_then_sent_if_one_did(
    outcomes: list[ProviderOutcome],
) -> None:
    results = [a_result(one, f"t-{number}") for number, one in enumerate(outcomes)]
    found = merged(results)
    if ProviderOutcome.RETRY in outcomes:
        assert found.outcome is ProviderOutcome.RETRY
    elif ProviderOutcome.ACCEPTED in outcomes:
        assert found.outcome is ProviderOutcome.ACCEPTED
    else:
        assert found.outcome in outcomes
    assert is_reached(found) is (ProviderOutcome.ACCEPTED in outcomes)
    assert found.devices == tuple(results)
    devices = tuple(Device(one.token) for one in results)
    again = [device.token for device in remaining(devices, results)]
    assert again == [one.token for one in results if one.result.outcome is ProviderOutcome.RETRY]


@pytest.mark.parametrize("one", ENDS)
@pytest.mark.parametrize("other", ENDS)
def test_a_failure_about_the_message_comes_before_one_about_an_address(
    one: ProviderOutcome, other: ProviderOutcome
) -> None:
    addresses = (ProviderOutcome.DEAD_TOKEN, ProviderOutcome.BAD_ADDRESS)
    found = merged([a_result(one), a_result(other)]).outcome
    assert found == merged([a_result(other), a_result(one)]).outcome
    assert found not in addresses or {one, other} <= {*addresses}


def test_a_retry_waits_as_long_as_the_most_patient_provider_asks_for() -> None:
    retry = ProviderOutcome.RETRY
    found = merged(
        [
            a_result(retry, retry_after_s=5.0),
            a_result(retry, retry_after_s=9.0, throttled=True),
            a_result(retry, maybe_accepted=True),
            a_result(ProviderOutcome.DEAD_TOKEN),
        ]
    )
    assert (found.outcome, found.retry_after_s, found.throttled, found.maybe_accepted) == (retry, 9.0, True, True)


def test_a_retry_has_the_id_of_what_another_device_took_and_is_about_the_calls_to_make() -> None:
    """What was taken is not in doubt, and needs no connection."""
    taken = a_result(ProviderOutcome.ACCEPTED, "here", provider="apns", provider_id="p-1")
    again = a_result(ProviderOutcome.RETRY, "there", code="503", retry_after_s=3.0, begun=False, not_ready=True)
    for results in ((taken, again), (again, taken)):
        found = merged(results)
        assert (found.provider, found.code, found.provider_id) == ("fcm", "503", "p-1")
        assert (found.begun, found.not_ready, found.maybe_accepted, found.retry_after_s) == (True, False, False, 3.0)
    alone = merged([again, again])
    assert (alone.begun, alone.not_ready, alone.provider_id) == (False, True, None)


def test_an_attempt_keeps_the_end_of_each_call_and_no_token() -> None:
    results = [
        a_result(ProviderOutcome.DEAD_TOKEN, "gone-token", code="UNREGISTERED"),
        a_result(ProviderOutcome.ACCEPTED, "here-token", provider="apns", detail="HTTP 200"),
    ]
    document = attempt_document(
        b"k" * 16, 1, 1, Phase.CALL, b"abc", Attempt(Rank.SENT, 1, devices=device_outcomes(results))
    )
    assert b"-token" not in document["p"] and "-token" not in repr(merged(results))
    assert unpack(document["p"]).devices == (
        DeviceOutcome(token_sha("gone-token"), "fcm", "dead_token", "UNREGISTERED"),
        DeviceOutcome(token_sha("here-token"), "apns", "accepted", "HTTP 200"),
    )


def test_an_attempt_that_an_earlier_release_stored_has_no_devices() -> None:
    packed = msgspec.msgpack.encode([Rank.SENT, 1, None, "fcm", "id", "HTTP 200", False, None, None])
    assert unpack(packed) == Attempt(Rank.SENT, 1, None, "fcm", "id", "HTTP 200")


def test_devices_that_an_earlier_release_stored_have_the_template_version_of_the_attempt() -> None:
    device = ["1f0c22ab", "fcm", "accepted", "HTTP 200"]
    packed = msgspec.msgpack.encode([Rank.SENT, 1, None, "fcm", "id", "HTTP 200", False, None, "de:1f", [device]])
    assert unpack(packed).devices == (DeviceOutcome("1f0c22ab", "fcm", "accepted", "HTTP 200", None),)
