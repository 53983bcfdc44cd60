"""Credentials as the providers demand them: tokens signed by a key, basic authentication, SMTP AUTH; and their replacement."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from notify_streams.delivery.providers import Provider, ProviderConfig, ProviderOutcome, ProviderResult, provider_for
from notify_streams.secret import Secret
from tests.contract.providers.mail_login import mail_server
from tests.strict_providers import TWILIO_SID, StrictProviders

SERVICE = "MG" + "0" * 32
ACCEPTED, RETRY = ProviderOutcome.ACCEPTED, ProviderOutcome.RETRY


@pytest.fixture
def config(providers: StrictProviders, host_certificate: Path) -> Callable[..., ProviderConfig]:
    def build(**but: Any) -> ProviderConfig:
        usual = {"fcm": providers.url, "twilio": providers.url, "smtp": "", "ca_file": str(host_certificate)}
        return ProviderConfig(
            **{**usual, "start_within_s": 2.0, "warm_connections": 0, "credential_check_s": 0.01, **but}
        )

    return build


@asynccontextmanager
async def started(channel: str, config: ProviderConfig) -> AsyncIterator[Provider]:
    provider = provider_for(channel, config)
    await provider.start()
    try:
        yield provider
    finally:
        await provider.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.005)


async def until_accepted(provider: Provider, message: Any) -> None:
    async with asyncio.timeout(5):
        while (result := await provider.send(message)).outcome is not ACCEPTED:
            assert result.outcome is RETRY
            await asyncio.sleep(0.005)


def secret(file: Path, text: str) -> Secret:
    write(file, text)
    return Secret.read(file)


def write(file: Path, text: str) -> None:
    """At once, as a mounted Secret changes."""
    new = file.with_suffix(".new")
    new.write_text(text + "\n")
    new.replace(file)


class TestServiceAccount:
    async def test_a_push_arrives_with_a_token_that_the_key_signed_for(
        self, providers: StrictProviders, config: Any, outbox_of: Any
    ) -> None:
        outbox = outbox_of("push")
        async with started("push", config(fcm_service_account=Secret(providers.service_account()))) as fcm:
            # A call that waits too long for the first token is not made.
            await until_accepted(fcm, outbox.message())
            results = await asyncio.gather(*(fcm.send(outbox.message()) for _ in range(19)))
        assert {result.outcome for result in results} == {ACCEPTED}
        assert len(providers.pushes) == 20
        assert providers.issued == 1

    async def test_an_endpoint_that_hangs_or_gives_dead_tokens_is_not_asked_without_a_pause(
        self, providers: StrictProviders, config: Any, outbox_of: Any
    ) -> None:
        outbox = outbox_of("push")
        key = Secret(providers.service_account())
        providers.expires_in = 0
        async with started("push", config(fcm_service_account=key)) as fcm:
            result = await fcm.send(outbox.message())
            assert (result.outcome, result.begun, result.detail) == (RETRY, False, "no access token")
            assert providers.issued == 1
        providers.expires_in, providers.delay_s = 3600, 1.0
        async with started("push", config(fcm_service_account=key, timeout_s=0.05)) as fcm:
            assert (await fcm.send(outbox.message())).detail == "no access token"
            await until(lambda: len(providers.valid_tokens) > 1)
            assert providers.most_renewals == 1

    async def test_with_a_wrong_key_everything_waits_until_the_key_is_replaced(
        self, providers: StrictProviders, config: Any, outbox_of: Any, keys: Any, tmp_path: Path
    ) -> None:
        file, outbox = tmp_path / "key.json", outbox_of("push")
        key = secret(file, providers.service_account(keys[1]))
        async with started("push", config(fcm_service_account=key)) as fcm:
            for _ in range(3):
                result = await fcm.send(outbox.message())
                assert (result.outcome, result.begun, result.credential_refused) == (RETRY, False, True)
                assert not result.maybe_accepted
            assert providers.refused and not providers.pushes
            write(file, providers.service_account())
            await until_accepted(fcm, outbox.message())

    async def test_a_token_is_renewed_ahead_of_its_expiry_one_renewal_at_a_time(
        self, providers: StrictProviders, config: Any, outbox_of: Any
    ) -> None:
        providers.expires_in, providers.delay_s = 1, 0.05
        outbox = outbox_of("push")
        async with started("push", config(fcm_service_account=Secret(providers.service_account()))) as fcm:
            await until_accepted(fcm, outbox.message())
            providers.expires_in = 3600
            await until(lambda: providers.issued == 2)
            assert (await fcm.send(outbox.message())).outcome is ACCEPTED
        assert (providers.issued, providers.most_renewals) == (2, 1)

    async def test_a_slow_token_endpoint_delays_no_call_beyond_its_start(
        self, providers: StrictProviders, config: Any, outbox_of: Any
    ) -> None:
        providers.delay_s = 3.0
        outbox, loop = outbox_of("push"), asyncio.get_running_loop()
        account = Secret(providers.service_account())
        async with started("push", config(fcm_service_account=account, start_within_s=0.05)) as fcm:
            before = loop.time()
            result = await fcm.send(outbox.message())
            assert (result.outcome, result.begun) == (RETRY, False)
            assert loop.time() - before < 2.4
            await until_accepted(fcm, outbox.message())
        assert providers.issued == 1

    async def test_a_call_that_waited_for_its_token_is_not_made_until_it_is_checked_again(
        self, providers: StrictProviders, config: Any, outbox_of: Any
    ) -> None:
        providers.delay_s = 0.1
        outbox, account = outbox_of("push"), Secret(providers.service_account())
        async with started("push", config(fcm_service_account=account)) as fcm:
            result = await fcm.send(outbox.message())
            assert (result.outcome, result.begun, result.not_ready) == (RETRY, False, True)
            assert not result.credential_refused
            assert (await fcm.send(outbox.message())).outcome is ACCEPTED

    async def test_a_revoked_token_is_renewed(self, providers: StrictProviders, config: Any, outbox_of: Any) -> None:
        outbox = outbox_of("push")
        async with started("push", config(fcm_service_account=Secret(providers.service_account()))) as fcm:
            await until_accepted(fcm, outbox.message())
            providers.valid_tokens.clear()
            result = await fcm.send(outbox.message())
            assert (result.outcome, result.code) == (RETRY, "UNAUTHENTICATED")
            await until_accepted(fcm, outbox.message())

    async def test_a_token_endpoint_with_another_certificate_gets_no_assertion(
        self, providers: StrictProviders, config: Any, outbox_of: Any
    ) -> None:
        account = Secret(providers.service_account())
        async with started("push", config(fcm_service_account=account, ca_file=None)) as fcm:
            result = await fcm.send(outbox_of("push").message())
        assert (result.outcome, result.begun) == (RETRY, False)
        assert (providers.issued, providers.refused) == (0, 0)

    @pytest.mark.parametrize("wrong", ["", "no json", "{}", "another project", "a broken key", "removed"])
    async def test_a_new_file_that_is_no_key_keeps_the_old_one(
        self,
        providers: StrictProviders,
        config: Any,
        outbox_of: Any,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        wrong: str,
    ) -> None:
        file, outbox = tmp_path / "key.json", outbox_of("push")
        key = secret(file, providers.service_account())
        contents = {
            "another project": providers.service_account(project_id="other"),
            "a broken key": providers.service_account(private_key="not-to-be-seen"),
        }
        caplog.set_level(logging.INFO)
        async with started("push", config(fcm_service_account=key)) as fcm:
            await until_accepted(fcm, outbox.message())
            if wrong == "removed":
                file.unlink()
            else:
                write(file, contents.get(wrong, wrong))
            await until(lambda: bool(_actions(caplog, "credential.refused")))
            # The file is looked at several times meanwhile.
            assert {(await fcm.send(outbox.message())).outcome for _ in range(50)} == {ACCEPTED}
            write(file, providers.service_account(private_key_id="2"))
            await until(lambda: bool(_actions(caplog, "credential.replaced")) and providers.issued == 2)
            assert (await fcm.send(outbox.message())).outcome is ACCEPTED
        (line,) = _actions(caplog, "credential.refused")
        assert "not-to-be-seen" not in str(vars(line)) and "PRIVATE" not in str(vars(line))


def _actions(caplog: pytest.LogCaptureFixture, action: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if vars(record).get("action") == action]


class TestTwilio:
    @pytest.mark.parametrize("by_key", [False, True], ids=["token", "API key"])
    async def test_a_wrong_login_is_retried_until_its_file_is_replaced(
        self, providers: StrictProviders, config: Any, outbox_of: Any, tmp_path: Path, by_key: bool
    ) -> None:
        outbox, file = outbox_of("sms"), tmp_path / "secret"
        if by_key:
            providers.twilio_login = ("SK1", "right-secret")
        wrong = secret(file, "wrong")
        by_token, by_api_key = (
            {"twilio_auth_token": wrong},
            {"twilio_api_key_sid": Secret("SK1"), "twilio_api_key_secret": wrong},
        )
        user = by_api_key if by_key else by_token
        login = config(twilio_account_sid=TWILIO_SID, twilio_sender="+15550100200", **user)
        async with started("sms", login) as twilio:
            result = await twilio.send(outbox.message())
            assert (result.outcome, result.code, result.credential_refused) == (RETRY, "20003", True)
            write(file, providers.twilio_login[1])
            await until_accepted(twilio, outbox.message())
        assert [text["From"] for text in providers.texts] == ["+15550100200"]

    async def test_without_a_callback_no_reports_are_asked_for(
        self, providers: StrictProviders, config: Any, outbox_of: Any
    ) -> None:
        login = config(
            twilio_account_sid=TWILIO_SID,
            twilio_auth_token=Secret("right-token"),
            twilio_sender=SERVICE,
            twilio_status_callback=None,
        )
        async with started("sms", login) as twilio:
            assert (await twilio.send(outbox_of("sms").message())).outcome is ACCEPTED
        (text,) = providers.texts
        assert text["MessagingServiceSid"] == SERVICE and "StatusCallback" not in text


class TestSmtp:
    async def test_a_wrong_password_is_retried_until_its_file_is_replaced(
        self, config: Any, outbox_of: Any, host_certificate: Path, tmp_path: Path
    ) -> None:
        outbox, file = outbox_of("email"), tmp_path / "password"
        async with mail_server(host_certificate, "right") as (mails, url):
            login = config(
                smtp=url,
                smtp_tls="require",
                smtp_ca_file=str(host_certificate),
                smtp_username=Secret("mailer"),
                smtp_password=secret(file, "wrong"),
                mail_sender="news@example.org",
            )
            async with started("email", login) as smtp:
                result: ProviderResult = await smtp.send(outbox.message())
                assert (result.outcome, result.code, result.credential_refused) == (RETRY, "535 5.7.8", True)
                write(file, "right")
                await until_accepted(smtp, outbox.message())
            assert mails.senders == ["news@example.org"]
