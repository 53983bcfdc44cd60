"""Addresses that a provider refuses for good are suppressed: which, why, and until it is stored."""

from typing import Any

import pytest

from notify_streams.delivery.providers import ProviderOutcome, ProviderResult
from notify_streams.delivery.refused_addresses import RefusedAddresses
from notify_streams.errors import PermanentFailure, RetryLater
from notify_streams.records.choice_sources import ChoiceSource
from tests.builders import a_message
from tests.waiting import until

PHONE, MAIL = "+15550100200", "ann@example.org"


class FakeStops:
    """Keeps each suppression; the first calls fail."""

    suppresses_addresses = True

    def __init__(self, failures: int = 0) -> None:
        self.suppressed: list[Any] = []
        self.failures = failures

    async def suppress_address(self, *suppression: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise RetryLater("later")
        self.suppressed.append(suppression)


def refused(provider: str, outcome: ProviderOutcome, code: str) -> ProviderResult:
    return ProviderResult(outcome=outcome, provider=provider, code=code)


REJECTED, DEAD = ProviderOutcome.REJECTED, ProviderOutcome.DEAD_TOKEN
CASES = {
    "opted out with Twilio": ("sms", PHONE, refused("twilio", REJECTED, "21610"), ("stopped", "PROVIDER_OPT_OUT")),
    "opted out with AWS": ("sms", PHONE, refused("sns", REJECTED, "OptedOut"), ("stopped", "PROVIDER_OPT_OUT")),
    "no such mailbox": ("email", MAIL, refused("smtp", DEAD, "550 5.1.1"), ("bounced", "HARD_BOUNCE")),
    "no mobile number": ("sms", PHONE, refused("twilio", DEAD, "21614"), None),
    "refused by policy": ("email", MAIL, refused("smtp", REJECTED, "550 5.7.1"), None),
    "the same code of another provider": ("email", MAIL, refused("smtp", REJECTED, "21610"), None),
    "a push token": ("push", "token", refused("fcm", DEAD, "UNREGISTERED"), None),
}


@pytest.mark.parametrize("case", CASES)
async def test_what_is_suppressed_by_a_refusal(case: str) -> None:
    channel, address, result, expected = CASES[case]
    stops = FakeStops(failures=int(expected is not None))
    addresses = RefusedAddresses(stops)  # type: ignore[arg-type]
    await addresses.start()
    message = a_message(channel=channel, to=address)
    last = a_message(channel="sms", to="+15550100299")
    addresses.add(message, result)
    addresses.add(last, refused("twilio", REJECTED, "21610"))
    count = 1 if expected is None else 2
    await until(lambda: len(stops.suppressed) >= count, "all are stored")
    await addresses.stop()
    found = [one for one in stops.suppressed if one[1] != last.to]
    if expected is None:
        assert found == []
    else:
        why, source = expected
        assert found == [(channel, address, why, message.delivery_id, ChoiceSource[source])]


async def test_without_a_key_nothing_is_kept() -> None:
    stops = FakeStops()
    stops.suppresses_addresses = False
    addresses = RefusedAddresses(stops)  # type: ignore[arg-type]
    await addresses.start()
    addresses.add(a_message(channel="sms", to=PHONE), refused("twilio", REJECTED, "21610"))
    await addresses.stop()
    assert stops.suppressed == []


class RefusingStops(FakeStops):
    """Never takes the suppression of one address."""

    async def suppress_address(self, *suppression: Any) -> None:
        if suppression[1] == PHONE:
            raise PermanentFailure("the document is too large")
        await super().suppress_address(*suppression)


async def test_an_address_that_the_database_never_takes_delays_no_other() -> None:
    stops = RefusingStops()
    addresses = RefusedAddresses(stops)  # type: ignore[arg-type]
    await addresses.start()
    # More than are suppressed at the same time.
    others = [f"+155501003{number:02}" for number in range(25)]
    for address in (PHONE, *others):
        addresses.add(a_message(channel="sms", to=address), refused("twilio", REJECTED, "21610"))
    await until(lambda: len(stops.suppressed) == len(others), "all others are stored")
    await addresses.stop()
    assert [one[1] for one in stops.suppressed] == others
