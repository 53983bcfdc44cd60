"""What an error code of AWS means for a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from notify_streams.delivery.providers.aws_client import AwsRefusal, WithoutCredentials
from notify_streams.delivery.providers.http_responses import NoResponse, no_response_result
from notify_streams.delivery.providers.provider import ProviderOutcome, ProviderResult, message_id_in


class ErrorRow(NamedTuple):
    """A line of an error table."""

    outcome: ProviderOutcome
    #: where the code is documented
    source: str
    #: too many requests
    throttled: bool = False


#: https://docs.aws.amazon.com/ses/latest/APIReference-V2/CommonErrors.html
_SES_COMMON: Final = "SES v2 API, common errors"
#: https://docs.aws.amazon.com/sns/latest/api/CommonErrors.html
_SNS_COMMON: Final = "SNS API, common errors"
#: Signature Version 4: https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html
_SIGNATURE: Final = "IAM User Guide, signature errors"
#: botocore/retries/standard.py: the codes that the SDK itself repeats
_BOTOCORE: Final = "botocore, standard retries"

_LATER: Final = ProviderOutcome.RETRY
_NEVER: Final = ProviderOutcome.REJECTED

#: Errors of every service. Those about the credential, the account or AWS itself are about no message, so it is tried again.
COMMON_ERRORS: Final[Mapping[str, ErrorRow]] = {
    # credential and permission
    "AccessDenied": ErrorRow(_LATER, _SIGNATURE),
    "AccessDeniedException": ErrorRow(_LATER, _SES_COMMON),
    "ExpiredToken": ErrorRow(_LATER, _SIGNATURE),
    "ExpiredTokenException": ErrorRow(_LATER, _SES_COMMON),
    "IncompleteSignature": ErrorRow(_LATER, _SES_COMMON),
    "IncompleteSignatureException": ErrorRow(_LATER, _SIGNATURE),
    "InvalidClientTokenId": ErrorRow(_LATER, _SNS_COMMON),
    "InvalidSignatureException": ErrorRow(_LATER, _SIGNATURE),
    "MissingAuthenticationToken": ErrorRow(_LATER, _SNS_COMMON),
    "MissingAuthenticationTokenException": ErrorRow(_LATER, _SIGNATURE),
    "NotAuthorized": ErrorRow(_LATER, _SES_COMMON),
    "OptInRequired": ErrorRow(_LATER, _SES_COMMON),
    "RequestExpired": ErrorRow(_LATER, _SES_COMMON),
    "RequestTimeTooSkewed": ErrorRow(_LATER, _SIGNATURE),
    "SignatureDoesNotMatch": ErrorRow(_LATER, _SIGNATURE),
    "UnrecognizedClientException": ErrorRow(_LATER, _SES_COMMON),
    # rate
    "BandwidthLimitExceeded": ErrorRow(_LATER, _BOTOCORE, throttled=True),
    "RequestLimitExceeded": ErrorRow(_LATER, _BOTOCORE, throttled=True),
    "RequestThrottled": ErrorRow(_LATER, _BOTOCORE, throttled=True),
    "RequestThrottledException": ErrorRow(_LATER, _BOTOCORE, throttled=True),
    "SlowDown": ErrorRow(_LATER, _BOTOCORE, throttled=True),
    "Throttling": ErrorRow(_LATER, _BOTOCORE, throttled=True),
    "ThrottlingException": ErrorRow(_LATER, _SES_COMMON, throttled=True),
    "TooManyRequestsException": ErrorRow(_LATER, _BOTOCORE, throttled=True),
    # AWS itself, or the way to it
    "InternalFailure": ErrorRow(_LATER, _SES_COMMON),
    "InternalServerError": ErrorRow(_LATER, _SES_COMMON),
    "RequestAbortedException": ErrorRow(_LATER, _SES_COMMON),
    "RequestTimeout": ErrorRow(_LATER, _BOTOCORE),
    "RequestTimeoutException": ErrorRow(_LATER, _SES_COMMON),
    "ServiceUnavailable": ErrorRow(_LATER, _SES_COMMON),
    # an endpoint that is none of this service
    "InvalidAction": ErrorRow(_LATER, _SNS_COMMON),
    "MalformedHttpRequestException": ErrorRow(_LATER, _SES_COMMON),
    "MissingAction": ErrorRow(_LATER, _SNS_COMMON),
    "UnknownOperationException": ErrorRow(_LATER, _SES_COMMON),
    # the message
    "InvalidParameterCombination": ErrorRow(_NEVER, _SNS_COMMON),
    "InvalidParameterValue": ErrorRow(_NEVER, _SNS_COMMON),
    "MissingParameter": ErrorRow(_NEVER, _SNS_COMMON),
    "RequestEntityTooLargeException": ErrorRow(_NEVER, _SES_COMMON),
    "ValidationError": ErrorRow(_NEVER, _SES_COMMON),
    "ValidationException": ErrorRow(_NEVER, _SES_COMMON),
}


def aws_result(
    provider: str, errors: Mapping[str, ErrorRow], answer: Mapping[str, Any] | AwsRefusal | NoResponse
) -> ProviderResult:
    """The result that an answer stands for. `errors`: see `_refusal_result`."""
    if isinstance(answer, NoResponse):
        result = no_response_result(provider, answer)
        return msgspec.structs.replace(result, credential_refused=isinstance(answer, WithoutCredentials))
    if isinstance(answer, AwsRefusal):
        return _refusal_result(provider, errors, answer)
    return ProviderResult(
        outcome=ProviderOutcome.ACCEPTED,
        provider=provider,
        provider_id=message_id_in(answer.get("MessageId")),
        detail="HTTP 200",
    )


def _refusal_result(provider: str, errors: Mapping[str, ErrorRow], refusal: AwsRefusal) -> ProviderResult:
    """The result for an error response. `errors`: of the service, before the common ones. An unknown code is RETRY."""
    row = errors.get(refusal.code) or COMMON_ERRORS.get(refusal.code)
    detail = f"HTTP {refusal.status}, {refusal.code}"
    if row is not None and row.outcome is not ProviderOutcome.RETRY:
        return ProviderResult(outcome=row.outcome, provider=provider, detail=detail, code=refusal.code)
    return ProviderResult(
        outcome=ProviderOutcome.RETRY,
        provider=provider,
        detail=detail,
        code=refusal.code,
        retry_after_s=refusal.retry_after_s,
        credential_refused=refusal.status in (401, 403),
        throttled=refusal.status == 429 if row is None else row.throttled,
        maybe_accepted=refusal.status >= 500,
        # A reply that names no code has its status as one.
        unknown_code=row is None and refusal.code != str(refusal.status),
    )
