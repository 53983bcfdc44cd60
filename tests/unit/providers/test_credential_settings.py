"""Credentials by settings: what is refused at the start, and what a client gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from devtools.stack.paths import PROJECT
from notify_streams.addresses import is_loopback
from notify_streams.app import build_app
from notify_streams.delivery.providers import check_credentials, provider_config
from notify_streams.errors import SettingsError
from notify_streams.secret import Secret
from notify_streams.settings import load_settings
from notify_streams.settings_providers import MoreCredential, ProviderSettings

REAL = {
    "push": "providers.fcm_service_account_file",
    "sms": "providers.twilio_account_sid and providers.twilio_auth_token_file",
    "email": "providers.mail_sender",
}
ELSEWHERE = {"smtp": "smtp://mail.example.org:587"}
TWILIO = {"twilio_account_sid": "AC1", "twilio_auth_token": Secret("hush")}


def settings(**but: Any) -> ProviderSettings:
    return ProviderSettings(**but)


@pytest.mark.parametrize(("channel", "setting"), REAL.items())
def test_a_real_provider_without_a_credential_is_refused_in_a_sentence(channel: str, setting: str) -> None:
    with pytest.raises(SettingsError, match=rf"is the address of another machine: set {setting} to "):
        check_credentials(settings(**ELSEWHERE), channel)


def test_only_the_channels_own_provider_is_looked_at() -> None:
    check_credentials(settings(), "email")
    check_credentials(settings(**TWILIO, twilio_sender="+15550100200"), "sms")
    with pytest.raises(SettingsError, match=r"set providers\.twilio_sender"):
        check_credentials(settings(**TWILIO), "sms")


@pytest.mark.parametrize("channel", REAL)
def test_the_sandbox_on_this_machine_needs_no_credential(channel: str) -> None:
    check_credentials(settings(fcm="http://127.0.0.1:1", twilio="http://localhost:1", smtp="smtp://[::1]:1"), channel)


@pytest.mark.parametrize("role", ["push", "cric_sms"])
def test_a_worker_without_its_credential_does_not_start(role: str) -> None:
    with pytest.raises(SettingsError, match="address of another machine"):
        build_app(load_settings("us", environ={}, config_dir=PROJECT / "config"), role)


@pytest.mark.parametrize(
    ("key", "says"),
    {
        "no JSON": ("{", "is not JSON"),
        "a list": ("[]", "is no key of a service account"),
        "a user": ({"type": "authorized_user"}, "is no key of a service account"),
        "no project": ({"project_id": None}, "names no project"),
        "a path as project": ({"project_id": "a/../b"}, "names no project"),
        "no endpoint": ({"token_uri": None}, "names no https:// address"),
        "an endpoint in plaintext": ({"token_uri": "http://example.org/token"}, "names no https:// address"),
        "no key": ({"private_key": "-----BEGIN hush"}, "has no usable private key"),
    }.values(),
)
def test_a_key_that_cannot_work_is_refused_without_its_content(key: Any, says: str) -> None:
    usual = {
        "type": "service_account",
        "project_id": "p",
        "token_uri": "https://t.example/token",
        "client_email": "a@p",
    }
    text = key if isinstance(key, str) else json.dumps(usual | key)
    with pytest.raises(SettingsError, match=says) as raised:
        check_credentials(settings(fcm="http://127.0.0.1:1", fcm_service_account=Secret(text)), "push")
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize("sender", ["Sender <a@example.org>", "no-domain", "a@b.example\r\nRCPT TO:<c@d.example>"])
def test_a_sender_that_is_no_mailbox_is_refused(sender: str) -> None:
    with pytest.raises(SettingsError, match="mail_sender must be one mail address"):
        check_credentials(settings(mail_sender=sender), "email")


def test_the_clients_get_what_the_settings_say(tmp_path: Path) -> None:
    given = settings(
        **TWILIO,
        twilio_sender="MG1",
        mail_sender="a@example.org",
        smtp_username=Secret("u"),
        smtp_password=Secret("p"),
    )
    config = provider_config(given, start_within_s=0.1)
    assert (config.twilio_account_sid, config.twilio_secret, config.twilio_api_key_sid) == ("AC1", Secret("hush"), None)
    assert (config.twilio_sender, config.twilio_status_callback, config.mail_sender) == ("MG1", None, "a@example.org")
    assert (config.smtp_username, config.smtp_password, config.start_within_s) == (Secret("u"), Secret("p"), 0.1)
    by_key = settings(twilio_account_sid="AC1", twilio_api_key_sid=Secret("SK1"), twilio_api_key_secret=Secret("s"))
    assert (provider_config(by_key).twilio_api_key_sid, provider_config(by_key).twilio_secret) == (
        Secret("SK1"),
        Secret("s"),
    )
    assert provider_config(settings(twilio="http://127.0.0.1:1")).twilio_status_callback is not None


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no token": ({"twilio_account_sid": "AC1"}, "together with twilio_auth_token or twilio_api_key_sid"),
    "no account": ({"twilio_auth_token": Secret("t")}, "together with twilio_auth_token or twilio_api_key_sid"),
    "half a key": ({"twilio_api_key_secret": Secret("s")}, "twilio_api_key_secret must be set together"),
    "token and key": (
        TWILIO | {"twilio_api_key_sid": Secret("SK"), "twilio_api_key_secret": Secret("s")},
        "remove one of them",
    ),
    "another sid": ({"twilio_account_sid": "AC/1", "twilio_auth_token": Secret("t")}, "twilio_account_sid must be AC"),
    "no number": ({"twilio_sender": "+1 555"}, "twilio_sender must be a number"),
    "no password": ({"smtp_username": Secret("u"), "smtp_tls": "require"}, "smtp_password must be set together"),
    "in plaintext": (
        {"smtp_username": Secret("u"), "smtp_password": Secret("p")},
        "smtp_tls must be require with smtp_username",
    ),
}


@pytest.mark.parametrize(("but", "says"), WRONG.values(), ids=WRONG)
def test_credentials_that_do_not_fit_together(but: dict[str, Any], says: str) -> None:
    (problem,) = settings(**but).credential_problems()
    assert says in problem


@pytest.mark.parametrize("sender", ["+15550100200", "12345", "Example Co", "MG" + "a" * 32])
def test_senders_of_every_kind_are_taken(sender: str) -> None:
    assert not [*settings(**TWILIO, twilio_sender=sender).credential_problems()]


def test_a_further_credential_replaces_what_it_gives() -> None:
    more: list[dict[str, Any]] = [
        {"provider": "twilio", "twilio_sender": "+15550100201", "calls_per_s": {"sms": 1}},
        {"provider": "twilio", "twilio_api_key_sid": Secret("SK1"), "twilio_api_key_secret": Secret("s")},
        {"provider": "smtp", "mail_sender": "b@example.org"},
    ]
    given = settings(
        **TWILIO,
        twilio_sender="+15550100200",
        calls_per_s={"sms": 5},
        more_credentials=tuple(MoreCredential(**one) for one in more),
    )
    assert not [*given.problems_of_more_credentials()]
    each = given.each_credential("twilio")
    assert [one.twilio_sender for one in each] == ["+15550100200", "+15550100201", "+15550100200"]
    assert [one.calls_per_s for one in each] == [{"sms": 5}, {"sms": 1}, {}]
    configs = [provider_config(one) for one in each]
    assert [(one.twilio_api_key_sid, one.twilio_secret) for one in configs] == [
        (None, Secret("hush")),
        (None, Secret("hush")),
        (Secret("SK1"), Secret("s")),
    ]


def test_what_is_wrong_with_a_further_credential_is_said_once() -> None:
    more = (MoreCredential(provider="twilio", twilio_sender="+1"), MoreCredential(provider="smtp"))
    (problem,) = settings(**TWILIO, more_credentials=more).problems_of_more_credentials()
    assert problem.startswith("more_credentials[0].twilio_sender must be")
    assert not [*settings(twilio_account_sid="AC1", more_credentials=more[1:]).problems_of_more_credentials()]


def test_all_keys_are_of_one_project() -> None:
    pem = generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    keys = [
        Secret(
            json.dumps(
                {
                    "type": "service_account",
                    "project_id": project,
                    "private_key": pem,
                    "client_email": f"a@{project}",
                    "token_uri": "https://t.example/token",
                }
            )
        )
        for project in ("one", "one", "other")
    ]
    more = [MoreCredential(provider="fcm", fcm_service_account=key) for key in keys[1:]]
    check_credentials(settings(fcm_service_account=keys[0], more_credentials=(more[0],)), "push")
    with pytest.raises(SettingsError, match="must be of the project"):
        check_credentials(settings(fcm_service_account=keys[0], more_credentials=(more[0], more[1])), "push")


def test_problems_of_credentials_are_problems_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "us.yaml").write_text(json.dumps({"kafka": "k:1", "shards": ["mongodb://m"], "redis": "redis://r"}))
    environ = {
        "NOTIFY_PROVIDERS__TWILIO_ACCOUNT_SID": "AC1",
        "NOTIFY_PROVIDERS__TWILIO_STATUS_CALLBACK": "ftp://reports",
    }
    with pytest.raises(SettingsError) as raised:
        load_settings("us", environ=environ, config_dir=tmp_path)
    assert "providers.twilio_account_sid must be set together" in str(raised.value)
    assert "providers.twilio_status_callback must be https://host/path" in str(raised.value)


@pytest.mark.parametrize("callback", ["ftp://reports", "https://the_reports.example/x", "https://reports.example/#a b"])
def test_a_status_callback_that_twilio_would_refuse_is_a_problem(tmp_path: Path, callback: str) -> None:
    (tmp_path / "us.yaml").write_text(json.dumps({"kafka": "k:1", "shards": ["mongodb://m"], "redis": "redis://r"}))
    with pytest.raises(SettingsError, match=r"providers\.twilio_status_callback must be https://host/path"):
        load_settings("us", environ={"NOTIFY_PROVIDERS__TWILIO_STATUS_CALLBACK": callback}, config_dir=tmp_path)


def test_a_status_callback_may_ask_twilio_to_repeat_it(tmp_path: Path) -> None:
    callback = "https://reports.example/twilio?region=us#rc=3&rp=5xx,ct,rt"
    (tmp_path / "us.yaml").write_text(json.dumps({"kafka": "k:1", "shards": ["mongodb://m"], "redis": "redis://r"}))
    environ = {"NOTIFY_PROVIDERS__TWILIO_STATUS_CALLBACK": callback}
    found = load_settings("us", environ=environ, config_dir=tmp_path)
    assert found.providers.twilio_status_callback == callback


def test_a_secret_knows_its_file_and_shows_neither_content_nor_account(tmp_path: Path) -> None:
    (tmp_path / "us.yaml").write_text(json.dumps({"kafka": "k:1", "shards": ["mongodb://m"], "redis": "redis://r"}))
    file = tmp_path / "token"
    file.write_text("hush\n")
    environ = {
        "NOTIFY_PROVIDERS__TWILIO_ACCOUNT_SID": "AC1",
        "NOTIFY_PROVIDERS__TWILIO_AUTH_TOKEN_FILE": str(file),
        "NOTIFY_PROVIDERS__TWILIO_STATUS_CALLBACK": "https://reports.example.org/twilio?region=us",
    }
    loaded = load_settings("us", environ=environ, config_dir=tmp_path)
    token = loaded.providers.twilio_auth_token
    assert token is not None and (token.reveal(), token.file) == ("hush", file)
    assert "hush" not in repr(loaded) and "hush" not in repr(provider_config(loaded.providers))
    assert Secret("hush") == token and msgspec.structs.replace(loaded.providers).twilio_auth_token is token


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:1", True),
        ("smtp://localhost", True),
        ("https://[::1]:1/x", True),
        ("http://0.0.0.0:1", False),
        ("https://localhost.example.org", False),
        ("https://127.0.0.1.example.org", False),
        ("http://[", False),
        ("", False),
    ],
)
def test_which_hosts_are_this_machine(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected
