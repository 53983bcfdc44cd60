"""A relay that takes ASCII addresses only gets the mails for domains that are written with other letters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from notify_streams.delivery.providers import Outgoing, ProviderConfig, ProviderOutcome, ProviderResult
from notify_streams.delivery.providers.smtp import Smtp


@dataclass
class Relay:
    """The envelopes that a server without SMTPUTF8 accepted."""

    url: str = ""
    accepted: list[Envelope] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.accepted.append(envelope)
        return "250 OK"

    async def result_of(self, to: str, mail_sender: str = "notify@example.org") -> ProviderResult:
        # No call is made to the two other providers.
        client = Smtp(ProviderConfig(fcm="", twilio="", smtp=self.url, mail_sender=mail_sender, start_within_s=5.0))
        try:
            return await client.send(Outgoing(to=to, delivery_id="d", notification_id="n", channel="email", body="hi"))
        finally:
            await client.close()


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    relay = Relay()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(relay, enable_SMTPUTF8=False), "127.0.0.1", 0)
    relay.url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield relay


async def test_the_domain_is_written_with_ascii_letters(relay: Relay) -> None:
    result = await relay.result_of("user@bücher.example", mail_sender="notify@straße.example")
    assert result.outcome is ProviderOutcome.ACCEPTED
    (envelope,) = relay.accepted
    assert (envelope.mail_from, envelope.rcpt_tos) == ("notify@xn--strae-oqa.example", ["user@xn--bcher-kva.example"])
    assert isinstance(envelope.content, bytes) and b"To: user@xn--bcher-kva.example\r\n" in envelope.content


async def test_a_local_part_with_other_letters_is_not_sent(relay: Relay) -> None:
    assert (await relay.result_of("jörg@example.org")).outcome is ProviderOutcome.BAD_ADDRESS
    assert relay.accepted == []
