"""How a delivery ends that an earlier attempt took to one device of the person: as sent, whatever came of the others."""

from __future__ import annotations

import time
from typing import Any

import pytest

from notify_streams.delivery import call_outcomes
from notify_streams.delivery.delivery_ledger import OwnedLedger, Token
from notify_streams.delivery.partition import Delivery, Partition
from notify_streams.delivery.providers import ProviderOutcome, ProviderResult
from notify_streams.records.channel_message import for_devices, read_channel_message
from notify_streams.records.devices import Device
from notify_streams.records.outcomes import Reason
from tests.builders import a_message

ENDS = [one for one in ProviderOutcome if one is not ProviderOutcome.RETRY]


def a_delivery(**but: Any) -> Delivery:
    """Of a second attempt."""
    ledger = OwnedLedger(partition=3, next_offset=0, claimed_to=0, last_flush="", seen={})
    partition = Partition(ledger, Token(1), 0, time.monotonic())
    return Delivery(partition, b"key", a_message(**but), b"", None, 2, began=time.monotonic())


@pytest.mark.parametrize("outcome", ENDS)
def test_a_call_fails_no_delivery_that_a_device_has(outcome: ProviderOutcome) -> None:
    result = ProviderResult(outcome=outcome, provider="apns", code="410")
    attempt = call_outcomes.ended(a_delivery(reached=True), result)
    assert (attempt.state, attempt.reason, attempt.provider, attempt.code) == ("sent", None, "apns", "410")
    attempt = call_outcomes.ended(a_delivery(), result)
    is_sent = outcome is ProviderOutcome.ACCEPTED
    assert (attempt.state, attempt.reason is None) == ("sent" if is_sent else "failed", is_sent)


@pytest.mark.parametrize("reason", [Reason.EXPIRED, Reason.OPTED_OUT, Reason.SUPERSEDED, Reason.ERASED])
def test_a_refusal_without_a_call_is_the_code_of_what_a_device_has(reason: Reason) -> None:
    attempt = call_outcomes.not_called(a_delivery(reached=True), reason)
    assert (attempt.state, attempt.reason, attempt.code) == ("sent", None, reason.value)
    attempt = call_outcomes.not_called(a_delivery(), reason)
    assert (attempt.state, attempt.reason, attempt.code) == (
        "expired" if reason is Reason.EXPIRED else "suppressed",
        reason.value,
        None,
    )


def test_it_is_retried_while_a_device_has_no_end() -> None:
    delivery = a_delivery(reached=True)
    retry = ProviderResult(outcome=ProviderOutcome.RETRY, provider="apns")
    attempts = (
        call_outcomes.ended(delivery, retry),
        call_outcomes.unanswered(delivery, 1.0),
        call_outcomes.put_off(delivery, "category paused"),
    )
    assert [one.state for one in attempts] == ["retrying"] * 3


def test_the_message_of_a_timer_keeps_that_a_device_has_it() -> None:
    """A message that none has is as before."""
    devices = Device("phone"), Device("tablet", "apns")
    message = a_message(to="", devices=devices)
    assert b"reached" not in for_devices(message, devices, reached=False)
    first = read_channel_message(for_devices(message, devices[1:], reached=True))
    second = read_channel_message(for_devices(first, devices[1:], reached=False))
    assert (message.reached, first.reached, second.reached, second.devices) == (False, True, True, devices[1:])
