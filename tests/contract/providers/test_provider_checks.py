"""`notify-streams providers check` asks each provider whether it takes our credential, and says in a sentence why not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from notify_streams.cli.providers import providers as providers_verb
from notify_streams.delivery.providers.checks import CHECKS
from tests.contract.providers.mail_login import Mails, mail_server
from tests.strict_providers import TWILIO_SID, StrictProviders

Check = Callable[..., Any]


@pytest.fixture
async def mail(host_certificate: Path) -> AsyncIterator[tuple[Mails, str]]:
    async with mail_server(host_certificate, "right") as running:
        yield running


@pytest.fixture
def mails(mail: tuple[Mails, str]) -> Mails:
    return mail[0]


@pytest.fixture
async def check(
    providers: StrictProviders, mail: tuple[Mails, str], host_certificate: Path, tmp_path: Path
) -> AsyncIterator[Check]:
    """Runs the verb with credentials that work, apart from `but`. Nothing listens at the addresses of Kafka, MongoDB and Redis."""
    nothing = {"kafka": "127.0.0.1:1", "shards": ["mongodb://127.0.0.1:1"], "redis": "redis://127.0.0.1:1/0"}
    (tmp_path / "us.yaml").write_text(yaml.safe_dump(nothing))
    (tmp_path / "key.json").write_text(providers.service_account())
    mails, smtp = mail

    async def run(*options: str, **but: str | None) -> Result:
        settings: dict[str, str | None] = {
            "fcm": providers.url,
            "twilio": providers.url,
            "smtp": smtp,
            "ca_file": str(host_certificate),
            "smtp_ca_file": str(host_certificate),
            "smtp_tls": "require",
            "fcm_service_account_file": str(tmp_path / "key.json"),
            "twilio_account_sid": TWILIO_SID,
            "twilio_auth_token": "right-token",
            "twilio_sender": "+15550100200",
            "mail_sender": "news@example.org",
            "smtp_username": "mailer",
            "smtp_password": "right",
            **but,
        }
        environ = {f"NOTIFY_PROVIDERS__{name.upper()}": value for name, value in settings.items() if value}
        command = ["check", *options]
        environ["NOTIFY_CONFIG_DIR"] = str(tmp_path)
        return await asyncio.to_thread(CliRunner(env=environ).invoke, providers_verb, command)

    yield run
    assert (mails.senders, providers.pushes, providers.texts) == ([], [], [])


async def test_each_provider_takes_its_credential_and_nothing_is_sent(check: Check, mails: Mails) -> None:
    done = await check()
    assert done.stdout.splitlines() == [
        "fcm      ok: FCM takes the credential for project the-project",
        "twilio   ok: Twilio takes the token of the account",
        "smtp     ok: the mail server takes the log-in",
    ]
    assert done.exit_code == 0
    assert mails.noops == 1


async def test_wrong_credentials_are_a_sentence_each(
    check: Check, providers: StrictProviders, keys: Any, tmp_path: Path
) -> None:
    (tmp_path / "key.json").write_text(providers.service_account(keys[1]))
    done = await check("--json", twilio_auth_token="wrong-token", smtp_password="wrong-password")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["holds"], [one["ok"] for one in found["providers"]]) == (1, False, [False] * 3)
    fcm, twilio, smtp = (one["text"] for one in found["providers"])
    assert "refuses the key of providers.fcm_service_account" in fcm
    assert "check providers.twilio_account_sid and providers.twilio_auth_token" in twilio
    assert "check providers.smtp_username and providers.smtp_password" in smtp
    assert not any(text in done.output for text in ("wrong-token", "wrong-password", "PRIVATE", "Invalid JWT"))


CASES: list[Any] = [
    pytest.param({"ca_file": None}, {}, "fcm", "is not accepted (self-signed certificate)", id="ca of FCM"),
    pytest.param(
        {"smtp_ca_file": None}, {}, "smtp", "is not accepted (self-signed certificate)", id="ca of the mail server"
    ),
    pytest.param({"ca_file": "/no/such"}, {}, "twilio", "/no/such cannot be read", id="no ca file"),
    pytest.param({"twilio": "https://127.0.0.1:1"}, {}, "twilio", "127.0.0.1:1 does not respond", id="no Twilio"),
    pytest.param({"smtp": "smtp://127.0.0.1:1"}, {}, "smtp", "does not respond", id="no mail server"),
    pytest.param({}, {"twilio_status": "suspended"}, "twilio", "the Twilio account is suspended", id="suspended"),
    pytest.param({}, {"project": "other"}, "fcm", "enable the Firebase Cloud Messaging API", id="no permission"),
    pytest.param(
        {}, {"fcm_error": (404, {"error": {"status": "NOT_FOUND"}})}, "fcm", "does not know project", id="no project"
    ),
    pytest.param(
        {}, {"fcm_error": (400, {"error": {"status": "INVALID_ARGUMENT"}})}, "fcm", "HTTP 400", id="another argument"
    ),
    pytest.param({}, {"fcm_error": (500, {})}, "fcm", "FCM answers HTTP 500", id="an outage"),
]


@pytest.mark.parametrize(("but", "state", "provider", "says"), CASES)
async def test_what_is_wrong_is_said(
    check: Check,
    providers: StrictProviders,
    but: dict[str, str | None],
    state: dict[str, Any],
    provider: str,
    says: str,
) -> None:
    for name, value in state.items():
        setattr(providers, name, value)
    done = await check(**but)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(provider)]
    assert "WRONG" in line and says in line
    assert done.exit_code == 1


async def test_an_api_key_that_may_not_fetch_the_account_is_taken(check: Check, providers: StrictProviders) -> None:
    providers.twilio_login = ("SK1", "right-secret")
    login = {"twilio_api_key_sid": "SK1", "twilio_api_key_secret": "right-secret"}
    done = await check(twilio_auth_token=None, **login)
    assert "twilio   ok: Twilio takes the API key of the account" in done.stdout
    assert "WRONG" in (await check(twilio_auth_token=None, **login | {"twilio_api_key_secret": "other"})).stdout


async def test_a_sender_with_an_international_domain_is_checked(check: Check) -> None:
    assert "smtp     ok" in (await check(mail_sender="notify@bücher.example")).stdout


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_a_file_of_authorities_that_cannot_be_read_is_named(
    check: Check, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "authorities.pem"
    if content is not None:
        file.write_text(content)
    done = await check(smtp_ca_file=str(file))
    assert done.exit_code == 1
    assert f"smtp     WRONG: providers.smtp_ca_file: {file} cannot be read" in done.stdout
    assert "fcm      ok" in done.stdout
    assert f"providers.ca_file: {file} cannot be read" in (await check(ca_file=str(file))).stdout


async def test_a_check_that_fails_hides_no_other_one(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(config: object) -> None:
        raise ZeroDivisionError("hush")

    monkeypatch.setitem(CHECKS, "twilio", broken)
    done = await check()
    assert "twilio   WRONG: the check of twilio failed (ZeroDivisionError)" in done.stdout
    assert "fcm      ok" in done.stdout and "hush" not in done.stdout


async def test_each_of_several_credentials_is_checked(check: Check) -> None:
    more = [{"provider": "twilio", "twilio_auth_token": "wrong"}, {"provider": "smtp", "mail_sender": "b@example.org"}]
    done = await check("--json", more_credentials=json.dumps(more))
    found = [(one["provider"], one["credential"], one["ok"]) for one in json.loads(done.stdout)["providers"]]
    assert found == [("fcm", 1, True), ("twilio", 1, True), ("twilio", 2, False), ("smtp", 1, True), ("smtp", 2, True)]
    assert "twilio 2 WRONG: Twilio refuses" in (await check(more_credentials=json.dumps(more))).stdout


async def test_the_sandbox_takes_the_check(check: Check, sandbox: Any) -> None:
    credentials = (
        "fcm_service_account_file",
        "twilio_account_sid",
        "twilio_auth_token",
        "smtp_username",
        "smtp_password",
    )
    none = dict.fromkeys(credentials)
    smtp = f"smtp://127.0.0.1:{sandbox.ports['smtp']}"
    before = sandbox.all_accepted()
    done = await check(fcm=sandbox.url, twilio=sandbox.url, smtp=smtp, smtp_tls="none", ca_file=None, **none)
    assert (done.exit_code, sandbox.all_accepted()) == (0, before), done.output
    assert "smtp     ok: the mail server answers, no log-in is configured, without encryption" in done.stdout
