"""SMS by Amazon SNS.

`Publish` to a phone number (https://docs.aws.amazon.com/sns/latest/dg/sms_sending-overview.html). It takes no expiry and no metadata.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from notify_streams.delivery.providers.aws_client import AwsClient, AwsRefusal
from notify_streams.delivery.providers.aws_errors import ErrorRow, aws_result
from notify_streams.delivery.providers.config import ProviderConfig
from notify_streams.delivery.providers.http_responses import NoResponse
from notify_streams.delivery.providers.provider import Outgoing, ProviderOutcome, ProviderResult, unsendable
from notify_streams.delivery.providers.sms import sms_size, sms_text, too_many_segments
from notify_streams.records.addresses import is_phone_number

#: characters of one call: https://docs.aws.amazon.com/sns/latest/dg/sms_sms-to-phone.html
_MAX_TEXT: Final = 1_600
#: https://docs.aws.amazon.com/sns/latest/dg/sms_publish-to-phone.html
_SMS_TYPE: Final = "AWS.SNS.SMS.SMSType"
_SENDER_ID: Final = "AWS.SNS.SMS.SenderID"
_ORIGINATION_NUMBER: Final = "AWS.MM.SMS.OriginationNumber"

#: the errors of Publish
_PUBLISH: Final = "botocore, sns service model, Publish"
#: errors of the service that are about a number or an account
_SERVICE: Final = "botocore, sns service model"

#: A code of ours: a refused parameter that is ours, not the recipient's. A refusal names the parameter in its text, "Invalid parameter:
#: PhoneNumber Reason: … is not valid to publish to" (aws/aws-sdk-js#1217, boto/boto3#2195). Ours are the attributes of a message:
#: https://docs.aws.amazon.com/sns/latest/dg/sms_publish-to-phone.html, and identities that a message is sent from:
#: https://docs.aws.amazon.com/sns/latest/dg/channels-sms-originating-identities.html. Their exact texts are not documented.
SENDER_REFUSED: Final = "InvalidParameter.Sender"
_ABOUT_SENDER: Final = re.compile(
    r"sender ?id|originat|sms ?type|message ?attribute|AWS\.(?:SNS|MM)\.SMS", re.IGNORECASE
)
#: The codes that refuse a parameter.
_PARAMETER_CODES: Final = frozenset(
    {
        "InvalidParameter",
        "InvalidParameterCombination",
        "InvalidParameterValue",
        "MissingParameter",
        "ParameterValueInvalid",
        "UserError",
        "ValidationError",
        "ValidationException",
    }
)

ERRORS: Final[Mapping[str, ErrorRow]] = {
    "AuthorizationError": ErrorRow(ProviderOutcome.RETRY, _PUBLISH),
    "EndpointDisabled": ErrorRow(ProviderOutcome.RETRY, _PUBLISH),
    "InternalError": ErrorRow(ProviderOutcome.RETRY, _PUBLISH),
    "InvalidParameter": ErrorRow(ProviderOutcome.REJECTED, _PUBLISH),
    SENDER_REFUSED: ErrorRow(ProviderOutcome.RETRY, _PUBLISH),
    "InvalidSecurity": ErrorRow(ProviderOutcome.RETRY, _PUBLISH),
    "KMSAccessDenied": ErrorRow(ProviderOutcome.RETRY, _PUBLISH),
    "KMSDisabled": ErrorRow(ProviderOutcome.RETRY, _PUBLISH),
    "KMSInvalidState": ErrorRow(ProviderOutcome.RETRY, _PUBLISH),
    "KMSNotFound": ErrorRow(ProviderOutcome.RETRY, _PUBLISH),
    "KMSOptInRequired": ErrorRow(ProviderOutcome.RETRY, _PUBLISH),
    "KMSThrottling": ErrorRow(ProviderOutcome.RETRY, _PUBLISH, throttled=True),
    "NotFound": ErrorRow(ProviderOutcome.RETRY, _PUBLISH),
    "OptedOut": ErrorRow(ProviderOutcome.REJECTED, _SERVICE),
    "ParameterValueInvalid": ErrorRow(ProviderOutcome.REJECTED, _PUBLISH),
    "PlatformApplicationDisabled": ErrorRow(ProviderOutcome.RETRY, _PUBLISH),
    "ResourceNotFound": ErrorRow(ProviderOutcome.RETRY, _SERVICE),
    "Throttled": ErrorRow(ProviderOutcome.RETRY, _SERVICE, throttled=True),
    "UserError": ErrorRow(ProviderOutcome.REJECTED, _SERVICE),
    "ValidationException": ErrorRow(ProviderOutcome.REJECTED, _PUBLISH),
}


class Sns:
    """See `Provider`. A number that opted out is REJECTED (OptedOut)."""

    name = "sns"

    def __init__(self, config: ProviderConfig) -> None:
        self.max_in_flight = config.max_in_flight
        self._config = config
        self._client = AwsClient(self.name, "sns", config)

    async def start(self) -> None:
        await self._client.start()

    async def close(self) -> None:
        await self._client.close()

    async def send(self, message: Outgoing) -> ProviderResult:
        if not is_phone_number(message.to) or message.to == self._config.sns_origination_number:
            return unsendable(self.name, ProviderOutcome.BAD_ADDRESS, "no E.164 number, or our own")
        request = sns_request(message, self._config)
        if not request["Message"].strip():
            return unsendable(self.name, ProviderOutcome.RENDERING, "the text is empty")
        size = sms_size(request["Message"])
        problem = too_many_segments(size, self._config.max_sms_segments)
        if problem is None and (characters := len(request["Message"])) > _MAX_TEXT:
            problem = f"{characters} characters, SNS takes {_MAX_TEXT}"
        if problem is not None:
            return unsendable(self.name, ProviderOutcome.TOO_LARGE, problem, segments=size.segments)
        result = sns_result(await self._client.call("publish", request))
        return msgspec.structs.replace(result, segments=size.segments)


def sns_request(message: Outgoing, config: ProviderConfig) -> dict[str, Any]:
    """The parameters of Publish."""
    attributes = {
        _SMS_TYPE: "Transactional" if message.critical else config.sns_sms_type.title(),
        _SENDER_ID: config.sns_sender_id,
        _ORIGINATION_NUMBER: config.sns_origination_number,
    }
    return {
        "PhoneNumber": message.to,
        "Message": sms_text(message),
        "MessageAttributes": {
            name: {"DataType": "String", "StringValue": text} for name, text in attributes.items() if text is not None
        },
    }


def sns_result(answer: Mapping[str, Any] | AwsRefusal | NoResponse) -> ProviderResult:
    """The result that an answer stands for."""
    if (
        isinstance(answer, AwsRefusal)
        and answer.code in _PARAMETER_CODES
        and _ABOUT_SENDER.search(answer.message) is not None
    ):
        answer = msgspec.structs.replace(answer, code=SENDER_REFUSED)
    return aws_result(Sns.name, ERRORS, answer)
