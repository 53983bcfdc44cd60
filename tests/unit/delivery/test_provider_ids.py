"""The number by which an attempt is found by its provider's id."""

import pytest

from notify_streams.delivery.provider_ids import provider_key, provider_keys, second_in

AT_S = 1_790_000_000


@pytest.mark.parametrize("provider", ["twilio", "sns", "smtp", "ses"])
def test_that_of_an_sms_or_mail_is_among_those_of_its_time(provider: str) -> None:
    key = provider_key(provider, "SM1", AT_S * 1000)
    assert key in provider_keys("SM1", AT_S + 100, 1_000)
    assert key not in provider_keys("SM2", AT_S + 100, 10_000)
    assert key not in provider_keys("SM1", AT_S - 10_000, 10_000)


@pytest.mark.parametrize("provider", ["fcm", "apns", "web_push"])
def test_a_push_has_none(provider: str) -> None:
    assert provider_key(provider, "id", AT_S * 1000) is None


def test_the_time_in_an_id_of_fcm() -> None:
    assert second_in(f"projects/an-app/messages/0:{AT_S}000123%0123456789abcdef") == AT_S
    assert second_in(f"0:{AT_S}000123%31bd1c9631bd1c96") == AT_S
    assert second_in("projects/an-app/messages/17") is None
