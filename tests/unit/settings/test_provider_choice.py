"""Settings of a provider are complete, or the process does not start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from notify_streams.errors import SettingsError
from notify_streams.secret import Secret
from notify_streams.settings import load_settings
from notify_streams.settings_providers import ProviderSettings

Load = Callable[..., ProviderSettings]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads these settings of the providers."""

    def loaded(environ: dict[str, str] | None = None, **providers: Any) -> ProviderSettings:
        usual = {"kafka": "kafka:9092", "shards": ["mongodb://one"], "redis": "redis://r"}
        (tmp_path / "us.yaml").write_text(yaml.safe_dump({**usual, "providers": providers}))
        return load_settings("us", environ=environ or {}, config_dir=tmp_path).providers

    return loaded


def test_the_key_of_dkim_comes_from_a_file_and_is_not_shown(load: Load, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hush\n")
    key = {"NOTIFY_PROVIDERS__DKIM_KEY_FILE": str(tmp_path / "key")}
    providers = load(key, dkim_domain="example.org", dkim_selector="s1")
    assert providers.dkim_key == Secret("hush")
    assert "hush" not in repr(providers)


def test_the_settings_of_dkim_belong_together(load: Load) -> None:
    with pytest.raises(SettingsError, match=r"providers\.dkim_domain, dkim_selector and dkim_key must be set together"):
        load(dkim_domain="example.org", dkim_key="k")


@pytest.mark.parametrize("choice", [{"email_provider": "ses"}, {"sms_provider": "sns"}])
def test_aws_needs_a_region(load: Load, choice: dict[str, str]) -> None:
    with pytest.raises(
        SettingsError, match=r"providers\.aws_region is missing: SES and SNS need the region"
    ) as refusal:
        load(**choice)
    assert "\n" not in str(refusal.value)
    assert load(**choice, aws_region="us-gov-west-1").aws_region == "us-gov-west-1"
    assert load().aws_region is None


def test_the_key_of_aws_is_complete_and_not_shown(load: Load, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hush\n")
    secret = {"NOTIFY_PROVIDERS__AWS_SECRET_ACCESS_KEY_FILE": str(tmp_path / "key")}
    providers = load(secret, aws_access_key_id="AKID")
    assert providers.aws_secret_access_key == Secret("hush")
    assert "hush" not in repr(providers) and "AKID" not in repr(providers)
    with pytest.raises(SettingsError, match="aws_access_key_id and aws_secret_access_key must be set together"):
        load(secret)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("aws_region", "Ireland"),
        ("aws_region", "eu-west-1.evil.example"),
        ("aws_endpoint", "127.0.0.1:5000"),
        ("ses_configuration_set", "a b"),
        ("sns_sender_id", "12345"),
        ("sns_sender_id", "TwelveLetter"),
        ("sns_origination_number", "MG123"),
        ("sms_provider", "nexmo"),
        ("email_provider", "sns"),
    ],
)
def test_a_value_that_aws_would_refuse_is_refused(load: Load, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"providers.{name}"):
        load(**{name: value})


def test_a_sender_of_sns_is_taken(load: Load) -> None:
    providers = load(sns_sender_id="Notify-1", sns_origination_number="12345", ses_configuration_set="my_set-1")
    assert (providers.sns_sender_id, providers.sns_origination_number) == ("Notify-1", "12345")


def test_a_call_to_a_mail_server_may_take_as_long_as_its_two_limits(load: Load) -> None:
    providers = load(timeout_s=4.0, smtp_reply_timeout_s=90.0)
    assert [providers.call_timeout_s(name) for name in ("smtp", "ses", "twilio")] == [94.0, 4.0, 4.0]


@pytest.mark.parametrize("name", ["fcm", "apns", "web_push"])
def test_a_push_may_take_as_long_as_fcm_because_a_device_may_name_it(load: Load, name: str) -> None:
    providers = load(push_provider=name, timeout_s=4.0, fcm_timeout_s=12.0)
    assert providers.call_timeout_s(name) == 12.0
    assert load(push_provider=name).call_timeout_s(name) >= 10.0, "FCM's least time before a message is sent again"
