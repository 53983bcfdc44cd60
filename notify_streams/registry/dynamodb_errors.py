"""What an error of DynamoDB's client means to us. An exception in, one of ours out; no I/O."""

from __future__ import annotations

from typing import Final

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from notify_streams.errors import NotifyError, RetryLater, SettingsError, StoreUnavailable

CONDITION_FAILED: Final = "ConditionalCheckFailedException"
#: Nothing of it was written: a condition failed, or another write was under way.
TRANSACTION_REFUSED: Final = "TransactionCanceledException"
#: "Retry: yes" in https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html, and tokens that get renewed.
PASSING: Final = frozenset(
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


def code_of(error: ClientError) -> str:
    """DynamoDB's name of the error."""
    return str(error.response.get("Error", {}).get("Code", ""))


def translate(error: Exception, call: str) -> NotifyError:
    """What the caller must do about `error`. The message names the call and the error, never an item: items are people's data."""
    if isinstance(error, ClientError):
        code = code_of(error)
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code in PASSING or status >= 500:
            return RetryLater(f"the registry answered {call} with {code or status}")
        if code == "ResourceNotFoundException":
            return SettingsError(f"{call}: the registry has no such table (users_table); create it with `shards init`")
        return SettingsError(f"the registry refused {call}: {code or status}")
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return SettingsError(
            f"{call}: no AWS credentials in the usual places (environment, profile, web identity, instance)"
        )
    if isinstance(error, BotoCoreError | TimeoutError | OSError):
        return StoreUnavailable(f"the registry did not answer {call}: {type(error).__name__}")
    raise error
