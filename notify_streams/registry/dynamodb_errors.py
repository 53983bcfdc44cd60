"""Translates DynamoDB's errors: permanent, transient or unknown."""

from __future__ import annotations

from typing import Final

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

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
#: Only an operator can help: no table, no permission.
WRONG_SETTINGS: Final = frozenset(
    {
        "AccessDeniedException",
        "IncompleteSignatureException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "ResourceNotFoundException",
        "UnrecognizedClientException",
    }
)


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
        if code == "ResourceNotFoundException":
            return SettingsError(
                f"registry: {call}: no such table (users_table); create it with `registry init`, locally with `shards init`"
            )
        if code in WRONG_SETTINGS:
            return SettingsError(f"registry: {call} refused: {code}")
        kind = PermanentFailure if code in PERMANENT else UnknownFailure
        return kind(f"registry: {call} refused: {code or status}")
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return SettingsError(f"registry: {call}: no AWS credentials (environment, profile, web identity, instance)")
    if isinstance(error, BotoCoreError | TimeoutError | OSError):
        return StoreUnavailable(f"registry: no response to {call}: {type(error).__name__}")
    raise error
