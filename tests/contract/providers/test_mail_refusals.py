"""What the refusals of large mail services mean for a delivery."""

from __future__ import annotations

from typing import Any

import pytest

from notify_streams.delivery.providers import ProviderOutcome
from tests.contract.providers.scripted_mail_server import CONTENT, MailServer, mails_to

REFUSALS = {
    "Exchange Online, no such recipient": (
        *(b"RCPT", b"550 5.4.1 Recipient address rejected: Access denied. [X.prod.outlook.com]"),
        *(ProviderOutcome.REJECTED, "550 5.4.1"),
    ),
    "Exchange Online, our account may not send as our sender": (
        *(CONTENT, b"550 5.7.60 SMTP; Client does not have permissions to send as this sender"),
        *(ProviderOutcome.RETRY, "550 5.7.60"),
    ),
    "Exchange Online, the mailbox may not send as our sender": (
        *(CONTENT, b"554 5.2.252 SendAsDenied; a@example.org not allowed to send as b@example.org"),
        *(ProviderOutcome.RETRY, "554 5.2.252"),
    ),
    "Exchange Online, our mailbox is throttled": (
        *(CONTENT, b"550 5.2.255 Sender throttled due to continuous invalid recipients errors."),
        *(ProviderOutcome.RETRY, "550 5.2.255"),
    ),
    "Exchange Online, our tenant is blocked": (
        *(CONTENT, b"550 5.7.705 Access denied, tenant has exceeded threshold"),
        *(ProviderOutcome.RETRY, "550 5.7.705"),
    ),
    "Exchange Online, our IP is blocked": (
        *(b"RCPT", b"550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP"),
        *(ProviderOutcome.RETRY, "550 5.7.708"),
    ),
    "Exchange Online, the recipient is blocked": (
        *(CONTENT, b"550 5.7.703 Your message can't be delivered because messages to a@example.org are blocked"),
        *(ProviderOutcome.REJECTED, "550 5.7.703"),
    ),
    "Gmail, the mailbox gets too many mails": (
        *(b"RCPT", b"550 5.2.1 The user you are trying to contact is receiving mail at a rate that prevents more"),
        *(ProviderOutcome.REJECTED, "550 5.2.1"),
    ),
    "Exchange Online, our tenant has reached its limit": (
        *(CONTENT, b"550 5.7.233 Your message can't be sent because your tenant exceeded its daily limit"),
        *(ProviderOutcome.RETRY, "550 5.7.233"),
    ),
    "Exchange Online, our account has reached its limit": (
        *(CONTENT, b"550 5.1.90 Your message can't be sent because you've reached your daily limit"),
        *(ProviderOutcome.RETRY, "550 5.1.90"),
    ),
    "Exchange Online, the mailbox has reached its limit": (
        *(b"RCPT", b"550 5.2.121 RESOLVER.MsgRateLimit; recipient's per hour message receive limit exceeded"),
        *(ProviderOutcome.RETRY, "550 5.2.121"),
    ),
    "Exchange Online, our address is banned": (
        *(b"RCPT", b"550 5.7.606 Access denied, banned sending IP [192.0.2.1]. To request removal from this list"),
        *(ProviderOutcome.RETRY, "550 5.7.606"),
    ),
    "Exchange Online, no connector knows us": (
        *(b"RCPT", b"550 5.7.64 TenantAttribution; Relay Access Denied [X.prod.outlook.com]"),
        *(ProviderOutcome.RETRY, "550 SenderRefused"),
    ),
    "Postfix, our address or log-in may not send to other hosts": (
        *(b"RCPT", b"554 5.7.1 <person-1@example.org>: Relay access denied"),
        *(ProviderOutcome.RETRY, "554 SenderRefused"),
    ),
    "Postfix, our address is on a block list": (
        *(b"RCPT", b"554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.example.org"),
        *(ProviderOutcome.RETRY, "554 SenderRefused"),
    ),
    "Postfix, our log-in may not send as our sender": (
        *(b"RCPT", b"553 5.7.1 <b@example.org>: Sender address rejected: not owned by user b"),
        *(ProviderOutcome.RETRY, "553 SenderRefused"),
    ),
    "Postfix, our recipient": (
        *(b"RCPT", b"550 5.1.1 <client-host-rejected@example.org>: Recipient address rejected: User unknown"),
        *(ProviderOutcome.DEAD_TOKEN, "550 5.1.1"),
    ),
    "Exim, the same": (b"RCPT", b"550 relay not permitted", ProviderOutcome.RETRY, "550 SenderRefused"),
    "Google, the same": (
        *(
            b"RCPT",
            b"550-5.7.1 Invalid credentials for relay [192.0.2.1]. The IP address you've\r\n550 5.7.1 x - gsmtp",
        ),
        *(ProviderOutcome.RETRY, "550 SenderRefused"),
    ),
    "Google, our limit of the day": (
        *(CONTENT, b"550 5.4.5 Daily SMTP relay limit exceeded for customer. For more information on SMTP relay"),
        *(ProviderOutcome.RETRY, "550 SenderRefused"),
    ),
    "SendGrid, our sender is not verified": (
        *(CONTENT, b"550 The from address does not match a verified Sender Identity. Mail cannot be sent until"),
        *(ProviderOutcome.RETRY, "550 SenderRefused"),
    ),
    "SES, our user may not send": (
        *(CONTENT, b"554 Access denied: User `arn:aws:iam::1:user/x' is not authorized to perform `ses:SendRawEmail'"),
        *(ProviderOutcome.RETRY, "554 SenderRefused"),
    ),
    "SES, our account is suspended": (
        *(CONTENT, b"554 Message rejected: Sending suspended for this account. For more information, please check"),
        *(ProviderOutcome.RETRY, "554 SenderRefused"),
    ),
    "a mailbox with such a name": (
        *(b"RCPT", b"550 5.1.1 <relay-access-denied@example.org>: no such user"),
        *(ProviderOutcome.DEAD_TOKEN, "550 5.1.1"),
    ),
    "SES, our sender is not verified": (
        *(
            CONTENT,
            b"554 Message rejected: Email address is not verified. The following identities failed: b@example.org",
        ),
        *(ProviderOutcome.RETRY, "554 NotVerified"),
    ),
    "SES, another reason": (CONTENT, b"554 Message rejected: no", ProviderOutcome.REJECTED, "554"),
}


@pytest.mark.parametrize(("command", "reply", "outcome", "code"), REFUSALS.values(), ids=REFUSALS)
async def test_a_refusal_ends_a_delivery_only_if_it_is_about_it(
    outbox_of: Any, command: bytes, reply: bytes, outcome: ProviderOutcome, code: str
) -> None:
    async with mails_to(MailServer(replies={command: reply})) as client:
        result = await client.send(outbox_of("email").message())
    assert (result.outcome, result.code, result.unknown_code, result.maybe_accepted) == (outcome, code, False, False)
    assert "example.org" not in repr(result)
