"""Permanent, transient and unknown errors of the stores."""

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from bson.errors import InvalidDocument
from pymongo.errors import AutoReconnect, BulkWriteError, DocumentTooLarge, OperationFailure, WTimeoutError

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


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ThrottlingException", RetryLater),
        ("ValidationException", PermanentFailure),
        ("AccessDeniedException", SettingsError),
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


def test_no_code_is_in_two_tables() -> None:
    tables = (dynamodb_errors.TRANSIENT, dynamodb_errors.PERMANENT, dynamodb_errors.WRONG_SETTINGS)
    assert len(frozenset().union(*tables)) == sum(map(len, tables))
