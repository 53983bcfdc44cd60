"""SES and SNS as moto plays them keep what was sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from email import message_from_string
from email.policy import default
from typing import Any

import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.server import ThreadedMotoServer
from moto.ses.models import ses_backends
from moto.sns.models import sns_backends

from notify_streams.delivery.providers import Provider, ProviderOutcome, provider_for
from tests.contract.providers.aws_server import REGION, config_of


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


@pytest.fixture
async def mailer(port: int) -> AsyncIterator[Provider]:
    provider = provider_for("email", config_of(port, mail_sender="notify@bücher.example"))
    await provider.start()
    yield provider
    await provider.close()


async def test_a_mail_is_stored_as_it_was_sent(mailer: Provider, outbox_of: Any) -> None:
    ses = ses_backends[DEFAULT_ACCOUNT_ID][REGION]
    ses.verify_domain("xn--bcher-kva.example")
    message = outbox_of("email").message(to="a@عربي.example", title="Zahlung über 12 €", body="Sie haben Geld.")
    result = await mailer.send(message)
    assert result.outcome is ProviderOutcome.ACCEPTED
    (stored,) = [sent for sent in ses.sent_messages if sent.id == result.provider_id]
    assert stored.source == "notify@xn--bcher-kva.example"
    assert set(stored.destinations) == {"a@xn--ngbrx4e.example"}
    mail = message_from_string(stored.raw_data, policy=default)
    assert mail["Subject"] == "Zahlung über 12 €"
    assert mail["X-Notify-Delivery-Id"] == message.delivery_id
    assert mail.get_content().strip() == "Sie haben Geld."
    assert mail.defects == [] and all(not value.defects for value in mail.values())


async def test_a_mail_of_an_identity_that_is_not_verified_is_refused(port: int, outbox_of: Any) -> None:
    provider = provider_for("email", config_of(port, mail_sender="notify@other.example"))
    await provider.start()
    result = await provider.send(outbox_of("email").message())
    await provider.close()
    assert (result.outcome, result.code) == (ProviderOutcome.REJECTED, "MessageRejected")
    assert result.begun and not result.maybe_accepted


async def test_an_sms_is_stored_as_it_was_sent(port: int, outbox_of: Any) -> None:
    provider = provider_for("sms", config_of(port))
    await provider.start()
    message = outbox_of("sms").message(title="Zahlung", body="über 12 €\nBüro")
    result = await provider.send(message)
    await provider.close()
    assert result.outcome is ProviderOutcome.ACCEPTED
    stored = sns_backends[DEFAULT_ACCOUNT_ID][REGION].sms_messages
    assert stored[str(result.provider_id)] == (message.to, "Zahlung\nüber 12 €\nBüro")
