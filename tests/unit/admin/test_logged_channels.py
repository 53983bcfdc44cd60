"""The audit compares a channel with the sandbox's log only if the sandbox gets its messages."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from notify_streams.admin.audit.compare import compare, summary
from notify_streams.admin.audit.region_part import RegionPart
from notify_streams.admin.audit.snapshot import DeliverySnapshot, ProviderAcceptance, RegionSnapshot
from notify_streams.admin.audit.totals import RegionTotals
from notify_streams.cli.audit import lines_of
from notify_streams.secret import Secret
from notify_streams.settings import Settings
from notify_streams.settings_providers import ProviderSettings

LOCAL = {"fcm": "http://127.0.0.1:1", "twilio": "http://127.0.0.1:1", "smtp": "smtp://127.0.0.1:2"}


@pytest.mark.parametrize(
    ("but", "logged"),
    [
        ({}, {"push", "sms", "email"}),
        ({"fcm": "https://fcm.googleapis.com"}, {"sms", "email"}),
        ({"fcm_service_account": Secret("{}")}, {"sms", "email"}),
        ({"web_push_key": Secret("k")}, {"sms", "email"}),
        ({"web_push_key": Secret("k"), "web_push_private_hosts": True}, {"push", "sms", "email"}),
        ({"apns_key": Secret("k")}, {"sms", "email"}),
        ({"apns_key": Secret("k"), "apns": "https://127.0.0.1:1"}, {"push", "sms", "email"}),
        ({"twilio_account_sid": "AC1", "twilio_auth_token": Secret("t")}, {"push", "email"}),
        ({"twilio": "https://api.twilio.com"}, {"push", "email"}),
        ({"smtp_username": Secret("mailer")}, {"push", "sms"}),
        ({"mail_sender": "news@example.org"}, {"push", "sms", "email"}),
        ({"email_provider": "ses", "sms_provider": "sns", "push_provider": "web_push"}, set()),
    ],
    ids=lambda value: ",".join(sorted(value)),
)
def test_a_credential_or_an_address_elsewhere_means_another_provider(but: Any, logged: set[str]) -> None:
    assert ProviderSettings(**{**LOCAL, **but}).sandbox_channels() == logged


def checks(logged: frozenset[str]) -> tuple[list[str], dict[str, Any]]:
    """The differences with the log, and the numbers, of a region whose push and mail were sent; its log has neither, but another mail."""
    snapshot, totals = RegionSnapshot("us", has_log=True, logged_channels=logged), RegionTotals()
    part = RegionPart(accepted={"n.other": ProviderAcceptance(1)})
    for topic, identity in (("cric_push", "n.push"), ("email", "n.email")):
        part.deliveries[topic] = {identity: DeliverySnapshot("sent", 1)}
        part.published[topic] = Counter([identity])
    totals.add(snapshot, part)
    settings = Settings(region="us", kafka="k", shards=("m",), redis="r")
    found = [f"{one.check}: {one.example}" for one in compare(settings, snapshot, totals) if one.where == "providers"]
    return found, summary(snapshot, totals)


@pytest.mark.parametrize(
    ("logged", "missing", "not_compared"),
    [({"push", "sms", "email"}, "n.email", []), ({"push", "sms"}, "n.push", ["email"])],
    ids=["all", "without email"],
)
def test_the_other_channels_are_compared(logged: set[str], missing: str, not_compared: list[str]) -> None:
    found, numbers = checks(frozenset(logged))
    assert found == [f"sent but never accepted: {missing}", "accepted but not sent: n.other"]
    assert numbers["not_compared"] == not_compared
    report = {"regions": {"us": numbers}, "differences": [], "in_flight": [], "repeats": [], "holds": True}
    said = [line for line in lines_of(report) if "not compared" in line]
    assert said == [
        f"us: {one} is not compared with the sandbox's log, because its provider is not the sandbox"
        for one in not_compared
    ]
