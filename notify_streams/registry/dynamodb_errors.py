"""Translates DynamoDB's errors: permanent, transient or unknown."""

from __future__ import annotations

from typing import Final

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from notify_streams import refusals
from notify_streams.errors import (
    NotifyError,
    PermanentFailure,
    RetryLater,
    SettingsError,
    StoreUnavailable,
    UnknownFailure,
)

CONDITION_FAILED: Final = "ConditionalCheckFailedException"
#: Nothing of the transaction was written: a condition failed, or another write was under way.
TRANSACTION_REFUSED: Final = "TransactionCanceledException"
#: The request itself is wrong, whenever it is made: here a row that DynamoDB cannot hold.
ROW_REFUSED: Final = frozenset({"ValidationException", "SerializationException"})
#: "Retry: yes" in https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html, and expired tokens.
TRANSIENT: Final = frozenset(
    {
        "ExpiredTokenException",
        "InternalServerError",
        "ItemCollectionSizeLimitExceededException",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "ReplicatedWriteConflictException",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "ThrottlingException",
        "TransactionConflictException",
    }
)
#: The item itself is refused.
PERMANENT: Final = frozenset({"SerializationException", "TransactionSizeLimitExceeded", "ValidationException"})
#: Only an operator can help.
WRONG_CREDENTIALS: Final = frozenset(
    {
        "IncompleteSignatureException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "UnrecognizedClientException",
    }
)
NO_RIGHT: Final = "AccessDeniedException"
NO_TABLE: Final = "ResourceNotFoundException"


def error_code(error: ClientError) -> str:
    """DynamoDB's name for the error."""
    return str(error.response.get("Error", {}).get("Code", ""))


def translate(error: Exception, call: str) -> NotifyError:
    """The error to raise for `error`; raises `error` itself if it is not DynamoDB's. The message never holds an item: personal data."""
    if isinstance(error, ClientError):
        code = error_code(error)
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code in TRANSIENT or status >= 500:
            return RetryLater(f"registry: {call}: {code or status}")
        if code == NO_TABLE:
            return SettingsError(
                f"registry: {call}: no such table (users_table); create it with `registry init`, locally with `shards init`"
            )
        if code == NO_RIGHT or code in WRONG_CREDENTIALS:
            return _refused(call, code)
        kind = PermanentFailure if code in PERMANENT else UnknownFailure
        return kind(f"registry: {call} refused: {code or status}")
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return _refused(call, type(error).__name__)
    if isinstance(error, BotoCoreError | TimeoutError | OSError):
        return StoreUnavailable(f"registry: no response to {call}: {type(error).__name__}")
    raise error


def _refused(call: str, code: str) -> StoreUnavailable:
    """A worker repeats the call: credentials and policies are changed without a restart."""
    where = "check those of the environment, profile, web identity or instance"
    sentence = f"registry: {call}: DynamoDB refuses the AWS credentials ({code}): {where}"
    if code == NO_RIGHT:
        sentence = f"registry: DynamoDB refuses {call} ({code}): `notify-streams registry policy` prints the policy that each role needs"
    refusals.note("DynamoDB", sentence)
    return StoreUnavailable(sentence)
