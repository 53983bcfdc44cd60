"""Email by Amazon SES v2.

`SendEmail` with the mail that SMTP would get (https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html). SES adds its
own Message-ID and, for a verified domain, its own DKIM signature.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from notify_streams.delivery.providers.aws_client import AwsClient, AwsRefusal
from notify_streams.delivery.providers.aws_errors import ErrorRow, aws_result
from notify_streams.delivery.providers.config import ProviderConfig
from notify_streams.delivery.providers.delivery_metadata import delivery_metadata
from notify_streams.delivery.providers.http_responses import NoResponse
from notify_streams.delivery.providers.mime import mime_message
from notify_streams.delivery.providers.provider import Outgoing, ProviderOutcome, ProviderResult, unsendable
from notify_streams.errors import SettingsError
from notify_streams.records.addresses import mailbox
from notify_streams.records.base64url import base64url

#: the errors of SendEmail
_MODEL: Final = "botocore, sesv2 service model"
#: https://docs.aws.amazon.com/ses/latest/dg/troubleshoot-error-messages.html
_GUIDE: Final = "SES Developer Guide, email sending errors"
#: MessageRejected because the sender, or each recipient in SES's own sandbox, is not verified: our account, not the message
NOT_VERIFIED: Final = "MessageRejected.NotVerified"
_NOT_VERIFIED_TEXT: Final = "address is not verified"

ERRORS: Final[Mapping[str, ErrorRow]] = {
    "AccountSuspendedException": ErrorRow(ProviderOutcome.RETRY, _MODEL),
    "BadRequestException": ErrorRow(ProviderOutcome.REJECTED, _MODEL),
    # The daily quota.
    "LimitExceededException": ErrorRow(ProviderOutcome.RETRY, _MODEL, throttled=True),
    "MailFromDomainNotVerifiedException": ErrorRow(ProviderOutcome.RETRY, _MODEL),
    "MessageRejected": ErrorRow(ProviderOutcome.REJECTED, _MODEL),
    NOT_VERIFIED: ErrorRow(ProviderOutcome.RETRY, _GUIDE),
    # The configuration set or the sender's identity.
    "NotFoundException": ErrorRow(ProviderOutcome.RETRY, _MODEL),
    "SendingPausedException": ErrorRow(ProviderOutcome.RETRY, _MODEL),
    "TooManyRequestsException": ErrorRow(ProviderOutcome.RETRY, _MODEL, throttled=True),
}

#: What name and value of a tag may have (`MessageTag` in the model).
_TAG: Final = re.compile(r"[A-Za-z0-9_-]{1,256}")


class Ses:
    """See `Provider`. `provider_id` is the MessageId of SES, which its events name."""

    name = "ses"

    def __init__(self, config: ProviderConfig) -> None:
        sender = mailbox(config.mail_sender)
        if sender is None or not sender.isascii():
            raise SettingsError("the sender of mails must be one plain mail address, for SES in ASCII before the @")
        self.max_in_flight = config.max_in_flight
        self._sender = sender
        self._configuration_set = config.ses_configuration_set
        self._client = AwsClient(self.name, "sesv2", config)

    async def start(self) -> None:
        await self._client.start()

    async def close(self) -> None:
        await self._client.close()

    async def send(self, message: Outgoing) -> ProviderResult:
        to = mailbox(message.to)
        # SES has no SMTPUTF8 (`Destination` in the API reference).
        if to is None or not to.isascii():
            return unsendable(
                self.name, ProviderOutcome.BAD_ADDRESS, "not one mail address, or not in ASCII before the @"
            )
        request = ses_request(
            msgspec.structs.replace(message, to=to), self._sender, self._configuration_set, time.time()
        )
        return ses_result(await self._client.call("send_email", request))


def ses_request(message: Outgoing, sender: str, configuration_set: str | None, now: float) -> dict[str, Any]:
    """The parameters of SendEmail. `message.to` and `sender` are results of `mailbox`."""
    request: dict[str, Any] = {
        "FromEmailAddress": sender,
        "Destination": {"ToAddresses": [message.to]},
        "Content": {"Raw": {"Data": mime_message(message, sender, now)}},
        "EmailTags": email_tags(message),
    }
    if configuration_set is not None:
        request["ConfigurationSetName"] = configuration_set
    return request


def email_tags(message: Outgoing) -> list[dict[str, str]]:
    """The delivery metadata, which each event of SES then has.

    A value with other characters than a tag may have is in base64 (RFC 4648 §5, without padding) under its name and ``-base64``; one that
    is too long for that is left out.
    """
    tags = []
    for name, text in delivery_metadata(message).items():
        if not _TAG.fullmatch(text):
            name, text = f"{name}-base64", base64url(text.encode())
        if _TAG.fullmatch(text):
            tags.append({"Name": name, "Value": text})
    return tags


def ses_result(answer: Mapping[str, Any] | AwsRefusal | NoResponse) -> ProviderResult:
    """The result that an answer stands for."""
    if isinstance(answer, AwsRefusal) and answer.code == "MessageRejected" and _NOT_VERIFIED_TEXT in answer.message:
        answer = msgspec.structs.replace(answer, code=NOT_VERIFIED)
    return aws_result(Ses.name, ERRORS, answer)
