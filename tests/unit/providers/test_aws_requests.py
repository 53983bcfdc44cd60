"""The error tables of SES and SNS name each code that botocore's models name; tags are what SES takes."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Callable
from typing import Any

import botocore.session
import pytest
from botocore.retries import standard
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.delivery.providers import (
    Outgoing,
    ProviderConfig,
    ProviderOutcome,
    check_credentials,
    provider_config,
    provider_for,
    ses,
    sns,
)
from notify_streams.delivery.providers.aws_errors import COMMON_ERRORS
from notify_streams.delivery.providers.delivery_metadata import delivery_metadata
from notify_streams.errors import SettingsError
from notify_streams.secret import Secret
from notify_streams.settings_providers import ProviderSettings

Builder = Callable[..., Outgoing]


@pytest.mark.parametrize(
    ("service", "operation", "table"), [("sesv2", "SendEmail", ses.ERRORS), ("sns", "Publish", sns.ERRORS)]
)
def test_each_error_of_the_operation_has_a_row(service: str, operation: str, table: dict[str, object]) -> None:
    model = botocore.session.get_session().get_service_model(service).operation_model(operation)
    codes = {shape.error_code for shape in model.error_shapes}
    assert len(codes) >= 8
    assert codes - table.keys() == set()


def test_each_error_of_sns_about_a_number_or_the_account_has_a_row() -> None:
    model = botocore.session.get_session().get_service_model("sns")
    shapes = [model.shape_for(name) for name in model.shape_names]
    codes = {shape.error_code for shape in shapes if shape.metadata.get("exception")}
    # Of topics, subscriptions, batches, tags and SNS's own sandbox: no answer to a message to a number.
    others = re.compile(r"Batch|Topic|Subscription|Filter|Tag|Replay|ConcurrentAccess|InvalidState|Verification")
    assert {code for code in codes if not others.search(code)} - sns.ERRORS.keys() == set()


def test_what_botocore_repeats_is_tried_again() -> None:
    throttled = set(standard.ThrottledRetryableChecker._THROTTLED_ERROR_CODES)
    transient = set(standard.TransientRetryableChecker._TRANSIENT_ERROR_CODES)
    for table in (ses.ERRORS, sns.ERRORS):
        rows = {**COMMON_ERRORS, **table}
        repeated = {code: rows[code] for code in (throttled | transient) & rows.keys()}
        assert {row.outcome for row in repeated.values()} == {ProviderOutcome.RETRY}
        assert all(row.throttled for code, row in repeated.items() if code in throttled)
    assert {"ThrottlingException", "RequestTimeout"} <= (throttled | transient) & COMMON_ERRORS.keys()


def test_each_row_has_a_source() -> None:
    assert all(row.source for table in (COMMON_ERRORS, ses.ERRORS, sns.ERRORS) for row in table.values())


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=250), st.booleans())
def test_tags_have_the_metadata_in_characters_that_ses_takes(delivery_id: str, critical: bool) -> None:
    message = Outgoing(
        delivery_id=delivery_id,
        notification_id="n-1",
        channel="email",
        to="a@example.org",
        body="b",
        critical=critical,
    )
    tags = ses.email_tags(message)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,256}", text) for tag in tags for text in tag.values())
    decoded = {}
    for tag in tags:
        name, encoded, _ = tag["Name"].partition("-base64")
        padding = "=" * (-len(tag["Value"]) % 4)
        decoded[name] = urlsafe_b64decode(tag["Value"] + padding).decode() if encoded else tag["Value"]
    expected = delivery_metadata(message)
    if len(delivery_id.encode()) > 192 and not re.fullmatch(r"[A-Za-z0-9_-]*", delivery_id):
        del expected["notify_delivery_id"]
    assert decoded == expected


@pytest.mark.parametrize(
    ("critical", "sms_type", "expected"),
    [
        (True, "promotional", "Transactional"),
        (False, "promotional", "Promotional"),
        (False, "transactional", "Transactional"),
    ],
)
def test_a_critical_sms_is_always_transactional(
    an_outgoing: Builder, critical: bool, sms_type: str, expected: str
) -> None:
    config = ProviderConfig(fcm="", twilio="", smtp="", sns_sms_type=sms_type)  # type: ignore[arg-type]
    attributes = sns.sns_request(an_outgoing(critical=critical), config)["MessageAttributes"]
    assert attributes == {"AWS.SNS.SMS.SMSType": {"DataType": "String", "StringValue": expected}}


@pytest.mark.parametrize(("channel", "name"), [("email", "ses"), ("sms", "sns")])
def test_without_a_region_there_is_no_client(channel: str, name: str) -> None:
    given: dict[str, Any] = {f"{channel}_provider": name}
    with pytest.raises(SettingsError, match=r"^providers\.aws_region is missing: set it to the region of"):
        provider_for(channel, ProviderConfig(**given))


@pytest.mark.parametrize(
    ("but", "says"),
    [
        ({}, "mail_sender is missing: set it to a verified address"),
        ({"aws_endpoint": "https://ses.example.org"}, "mail_sender is missing: set it to a verified address"),
        ({"mail_sender": "jürgen@example.org"}, "ASCII before the @"),
        ({"mail_sender": "A <a@example.org>"}, "one mail address without a name"),
    ],
)
def test_ses_needs_a_sender(but: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says) as refusal:
        check_credentials(ProviderSettings(email_provider="ses", aws_region="eu-west-1", **but), "email")
    assert "\n" not in str(refusal.value)


def test_a_server_on_this_machine_needs_no_sender() -> None:
    check_credentials(ProviderSettings(email_provider="ses", aws_endpoint="http://127.0.0.1:1"), "email")


def test_the_clients_get_the_settings_of_aws() -> None:
    settings = ProviderSettings(
        sms_provider="sns", aws_region="eu-west-1", aws_access_key_id=Secret("AKID"), sns_sender_id="NOTIFY"
    )
    config = provider_config(settings)
    assert (config.provider_of["sms"], config.aws_region, config.sns_sender_id) == ("sns", "eu-west-1", "NOTIFY")
    assert config.aws_access_key_id == Secret("AKID") and "AKID" not in repr(config)


def test_a_sender_that_ses_does_not_take_is_refused() -> None:
    config = ProviderConfig(
        fcm="", twilio="", smtp="", email_provider="ses", aws_region="eu-west-1", mail_sender="jürgen@example.org"
    )
    with pytest.raises(SettingsError, match="ASCII before the @"):
        provider_for("email", config)
