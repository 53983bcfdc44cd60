"""Permanent, transient and unknown errors of the stores."""

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from bson.errors import InvalidDocument
from pymongo.errors import AutoReconnect, BulkWriteError, DocumentTooLarge, OperationFailure, WTimeoutError

from notify_streams import refusals
from notify_streams.errors import PermanentFailure, RetryLater, SettingsError, StoreUnavailable, UnknownFailure
from notify_streams.registry import dynamodb_errors
from notify_streams.stores.mongo_errors import mongo_call


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OperationFailure("?", 2), PermanentFailure),
        (BulkWriteError({"writeErrors": [{"code": 53}]}), PermanentFailure),
        (DocumentTooLarge("17 MB"), PermanentFailure),
        (InvalidDocument("no such type"), PermanentFailure),
        (OverflowError("MongoDB can only handle up to 8-byte ints"), PermanentFailure),
        (AutoReconnect("gone"), StoreUnavailable),
        (OperationFailure("a moving bucket", 121), StoreUnavailable),
        (WTimeoutError("slow", 64), StoreUnavailable),
        (OperationFailure("Read timestamp is older than the oldest available", 239), StoreUnavailable),
        (OperationFailure("?", 2, {"errorLabels": ["TransientTransactionError"]}), StoreUnavailable),
        (OperationFailure("?", 987654), UnknownFailure),
        (OperationFailure("no code"), UnknownFailure),
        (BulkWriteError({"writeErrors": [{"code": 11000}]}), UnknownFailure),
    ],
)
def test_mongodb(error: Exception, kind: type[Exception]) -> None:
    with pytest.raises(StoreUnavailable) as raised, mongo_call("write"):
        raise error
    assert type(raised.value) is kind
    assert str(error) not in str(raised.value)


def test_a_reading_that_took_longer_than_its_snapshot_is_kept_names_the_parameter() -> None:
    with pytest.raises(StoreUnavailable, match="minSnapshotHistoryWindowInSeconds"), mongo_call("read"):
        raise OperationFailure("Read timestamp is older than the oldest available timestamp", 239)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ThrottlingException", RetryLater),
        ("ValidationException", PermanentFailure),
        ("AccessDeniedException", StoreUnavailable),
        ("UnrecognizedClientException", StoreUnavailable),
        ("ResourceNotFoundException", SettingsError),
        ("BrandNewException", UnknownFailure),
    ],
)
def test_dynamodb(code: str, kind: type[Exception]) -> None:
    error = ClientError({"Error": {"Code": code}}, "put_item")
    assert type(dynamodb_errors.translate(error, "put_item")) is kind


def test_dynamodb_without_an_answer() -> None:
    error = EndpointConnectionError(endpoint_url="http://localhost:1")
    assert type(dynamodb_errors.translate(error, "put_item")) is StoreUnavailable


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            ClientError({"Error": {"Code": "AccessDeniedException"}}, "PutItem"),
            "`notify-streams registry policy` prints",
        ),
        (
            ClientError({"Error": {"Code": "UnrecognizedClientException"}}, "PutItem"),
            "refuses the AWS credentials (Unrec",
        ),
        (NoCredentialsError(), "refuses the AWS credentials (NoCredentialsError): check those of the environment"),
    ],
    ids=str,
)
def test_what_dynamodb_refuses_is_one_sentence_and_ready_says_it(error: Exception, words: str) -> None:
    sentence = str(dynamodb_errors.translate(error, "put_item"))
    assert words in sentence and "\n" not in sentence and sentence in refusals.recent()


def test_no_code_is_in_two_tables() -> None:
    operator = {dynamodb_errors.NO_RIGHT, dynamodb_errors.NO_TABLE, *dynamodb_errors.WRONG_CREDENTIALS}
    tables = (dynamodb_errors.TRANSIENT, dynamodb_errors.PERMANENT, operator)
    assert len(frozenset().union(*tables)) == sum(map(len, tables))
