"""Requests to FCM and Twilio have the documented form."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest

from notify_streams.delivery.providers import Outgoing, ProviderConfig, provider_for
from notify_streams.delivery.providers.fcm import fcm_request
from notify_streams.delivery.providers.twilio import twilio_form
from notify_streams.secret import Secret

NOW_MS = 1_764_000_000_000
Builder = Callable[..., Outgoing]


def test_a_push_request(an_outgoing: Builder) -> None:
    message = an_outgoing(
        attempt=2, critical=True, possible_duplicate=True, collapse_key="k", expires_at_ms=NOW_MS + 90_500
    )
    assert fcm_request(message, NOW_MS) == {
        "message": {
            "token": "token-1",
            "notification": {"title": "Payment received", "body": "12.50 EUR have arrived."},
            "data": {
                "notify_delivery_id": "d-1",
                "notify_notification_id": "n-1",
                "notify_attempt": "2",
                "notify_possible_duplicate": "1",
                "notify_critical": "1",
            },
            "android": {"priority": "HIGH", "ttl": "90s", "collapseKey": "k"},
            "apns": {
                "headers": {
                    "apns-priority": "10",
                    "apns-expiration": str(NOW_MS // 1000 + 90),
                    "apns-collapse-id": "k",
                }
            },
            "webpush": {"headers": {"Urgency": "high", "TTL": "90", "Topic": "glTDKakoUPbVOd03b0gW7idkUX2l4CNV"}},
        }
    }


def test_a_push_that_keeps_for_long_and_replaces_none(an_outgoing: Builder) -> None:
    message = fcm_request(an_outgoing(), NOW_MS)["message"]
    assert message["android"] == {"priority": "NORMAL"}
    assert message["apns"] == {"headers": {"apns-priority": "5"}}
    assert message["webpush"] == {"headers": {"Urgency": "normal"}}


def test_a_push_that_has_expired_is_not_stored(an_outgoing: Builder) -> None:
    message = fcm_request(an_outgoing(expires_at_ms=NOW_MS - 1), NOW_MS)["message"]
    assert message["apns"]["headers"]["apns-expiration"] == "0"
    assert message["webpush"]["headers"]["TTL"] == "0"


def test_the_data_of_a_push_is_text(an_outgoing: Builder) -> None:
    data = fcm_request(an_outgoing(data={"amount": 12.5, "items": ["a"], "name": "x", "none": None}), NOW_MS)
    sent = data["message"]["data"]
    assert {name: sent[name] for name in ("amount", "items", "name", "none")} == {
        "amount": "12.5",
        "items": '["a"]',
        "name": "x",
        "none": "null",
    }


@pytest.mark.parametrize(
    ("expires_at_ms", "ttl"),
    [(None, None), (NOW_MS - 1, "0s"), (NOW_MS + 1999, "1s"), (NOW_MS * 2, "2419200s")],
    ids=["never", "past", "rounded down", "longest"],
)
def test_the_ttl_of_a_push(an_outgoing: Builder, expires_at_ms: int | None, ttl: str | None) -> None:
    assert fcm_request(an_outgoing(expires_at_ms=expires_at_ms), NOW_MS)["message"]["android"].get("ttl") == ttl


def test_an_sms_request(an_outgoing: Builder) -> None:
    message = an_outgoing(channel="sms", to="+12025550100", possible_duplicate=True, expires_at_ms=NOW_MS + 60_000)
    form = twilio_form(message, "+15550000000", "https://r.example/receipts?region=us", NOW_MS)
    callback = urlsplit(form.pop("StatusCallback"))
    assert form == {
        "To": "+12025550100",
        "From": "+15550000000",
        "Body": "Payment received\n12.50 EUR have arrived.",
        "ValidityPeriod": "60",
    }
    assert callback._replace(query="").geturl() == "https://r.example/receipts"
    assert parse_qs(callback.query) == {
        "region": ["us"],
        "notify_delivery_id": ["d-1"],
        "notify_notification_id": ["n-1"],
        "notify_attempt": ["1"],
        "notify_possible_duplicate": ["1"],
    }


def test_what_a_status_callback_asks_twilio_for_is_after_its_query(an_outgoing: Builder) -> None:
    form = twilio_form(an_outgoing(), "+15550000000", "https://r.example/receipts#rc=5&rp=all", NOW_MS)
    callback = urlsplit(form["StatusCallback"])
    assert (callback.fragment, parse_qs(callback.query)["notify_attempt"]) == ("rc=5&rp=all", ["1"])


def test_an_sms_from_a_messaging_service(an_outgoing: Builder) -> None:
    form = twilio_form(an_outgoing(title=None), "MG" + "0" * 32, "https://r.example/", NOW_MS)
    assert form["MessagingServiceSid"] == "MG" + "0" * 32
    assert "From" not in form
    assert form["Body"] == "12.50 EUR have arrived."


def test_repr_shows_no_credential() -> None:
    config = ProviderConfig(
        fcm="http://f",
        twilio="http://t",
        smtp="smtp://s",
        twilio_auth_token=Secret("hush"),
        smtp_password=Secret("whisper"),
    )
    assert "hush" not in repr(config) and "whisper" not in repr(config)


@pytest.mark.parametrize("channel", ["fax", "cric_push", ""])
def test_an_unknown_channel_is_refused_by_name(channel: str) -> None:
    with pytest.raises(ValueError, match="push, sms, email"):
        provider_for(channel, ProviderConfig(fcm="http://f", twilio="http://t", smtp="smtp://s"))


@pytest.mark.parametrize("url", ["http://mail:25", "mail:25", "smtp://"])
def test_an_smtp_url_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="smtp URL"):
        provider_for("email", ProviderConfig(fcm="http://f", twilio="http://t", smtp=url))
