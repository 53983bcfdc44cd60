"""The settings of what the internet reaches are complete and plausible, or the process does not start."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from notify_streams.errors import SettingsError
from notify_streams.settings import Settings, load_settings
from notify_streams.settings_providers import ProviderSettings
from notify_streams.settings_public import PublicSettings

#: The same in each process: tests are named by them.
KEYS = [urlsafe_b64encode(bytes([number]) * 32).decode() for number in (1, 2)]
WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:mail-events"


def load(folder: Path, environ: dict[str, str] | None = None, **public: Any) -> PublicSettings:
    usual = {"kafka": "kafka:9092", "shards": ["mongodb://one"], "redis": "redis://r", "regions": ["us", "eu"]}
    (folder / "us.yaml").write_text(yaml.safe_dump({**usual, "public": public}))
    return load_settings("us", environ=environ or {}, config_dir=folder).public


def test_without_settings_nothing_is_open(tmp_path: Path) -> None:
    assert load(tmp_path) == PublicSettings()
    assert (PublicSettings().link_key_list(), PublicSettings().webhook_secret_list()) == ([], [])


def test_keys_come_from_files_and_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"{KEYS[0]}, {KEYS[1]}\n")
    found = load(tmp_path, {"NOTIFY_PUBLIC__LINK_KEYS_FILE": str(tmp_path / "keys")}, address_key="k" * 32)
    assert found.link_key_list() == KEYS
    assert not [key for key in (*KEYS, "k" * 32) if key in repr(found)]


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("urls", {"mars": "https://mars.example"}, r"public\.urls\.mars: there is no such region"),
        ("urls", {"us": "http://us.example"}, r"public\.urls\.us must be https://host"),
        ("urls", {"us": "https://us.example/?a=b"}, r"public\.urls\.us must be https://host"),
        ("link_keys", "too-short", r"public\.link_keys must be Fernet keys"),
        ("link_keys", f"{KEYS[0]},{KEYS[1][:-2]}", r"public\.link_keys must be Fernet keys"),
        ("link_keys", ",", r"public\.link_keys must be Fernet keys"),
        ("address_key", "short", r"public\.address_key must have at least 32 characters"),
        ("webhook_secrets", "whsec_short", r"public\.webhook_secrets must be whsec_"),
        ("webhook_secrets", WEBHOOK_SECRET[6:], r"public\.webhook_secrets must be whsec_"),
        ("sns_topics", ["mail-events"], r"public\.sns_topics must be a list of ARNs"),
        ("twilio_auth_tokens", ",", r"public\.twilio_auth_tokens must be"),
    ],
)
def test_what_cannot_work_stops_the_start(tmp_path: Path, key: str, value: Any, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as refusal:
        load(tmp_path, **{key: value})
    if isinstance(value, str) and len(value) > 1:
        assert value not in str(refusal.value)


def test_what_can_work_is_taken(tmp_path: Path) -> None:
    urls = {"us": "https://notify.us.example.com", "eu": "http://127.0.0.1:6078"}
    found = load(tmp_path, urls=urls, webhook_secrets=f"{WEBHOOK_SECRET},{WEBHOOK_SECRET}", sns_topics=[TOPIC])
    assert (found.urls, found.sns_topics) == (urls, (TOPIC,))
    assert found.webhook_secret_list() == [WEBHOOK_SECRET] * 2


def test_twilio_reports_to_the_region_s_own_webhooks_unless_another_address_is_set() -> None:
    public = PublicSettings(urls={"us": "https://notify.us.example.com/", "eu": "https://notify.eu.example.com"})
    settings = Settings(region="us", kafka="n", redis="n", shards=("mongodb://one",), public=public)
    asked = "https://notify.us.example.com/webhooks/twilio#rc=5&rp=all"
    assert settings.providers_here().twilio_status_callback == asked, (
        "Twilio repeats a callback only if the URL asks for it"
    )
    own = ProviderSettings(twilio_status_callback="https://other.example/x")
    assert msgspec.structs.replace(settings, providers=own).providers_here() == own
    assert msgspec.structs.replace(settings, public=PublicSettings()).providers_here() == settings.providers
