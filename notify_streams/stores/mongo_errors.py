"""Translates MongoDB's errors: permanent, transient or unknown.

One table each; an error that is in neither is an `UnknownFailure`. Codes: https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pymongo
from bson.errors import BSONError
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    DocumentTooLarge,
    DuplicateKeyError,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
)

from notify_streams import refusals
from notify_streams.errors import PermanentFailure, StoreUnavailable, UnknownFailure

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Codes of failed log-ins and of users without the right (https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml).
_REFUSALS: Final = {
    13: "refuses: the user has not the right: give it readWrite on the settings' `database` and clusterMonitor",
    18: "refuses the user name or password: check mongo_security.username and mongo_security.password",
}
_DUPLICATE_KEY: Final = 11000
_SNAPSHOT_TOO_OLD: Final = 239
#: DocumentValidationFailure: the only validators block the writes to a bucket that is being moved.
_WRITES_BLOCKED: Final = 121
#: The document or statement itself is refused.
_PERMANENT_CODES: Final = frozenset(
    {
        2,  # BadValue
        9,  # FailedToParse
        14,  # TypeMismatch
        15,  # Overflow: nested too deep
        16,  # InvalidLength
        22,  # InvalidBSON
        28,  # PathNotViable
        40,  # ConflictingUpdateOperators
        52,  # DollarPrefixedFieldName
        53,  # InvalidIdField
        54,  # NotSingleValueField
        56,  # EmptyFieldName
        57,  # DottedFieldName
        66,  # ImmutableField
        10334,  # BSONObjectTooLarge
        17280,  # KeyTooLong
        17419,  # the updated document is too large
        17420,  # the inserted document is too large
    }
)
#: The same call can succeed later, or after an operator has changed something that is not in the record.
_TRANSIENT_CODES: Final = frozenset(
    {
        6,  # HostUnreachable
        7,  # HostNotFound
        13,  # Unauthorized
        18,  # AuthenticationFailed
        24,  # LockTimeout
        26,  # NamespaceNotFound
        43,  # CursorNotFound
        50,  # MaxTimeMSExpired
        64,  # WriteConcernFailed
        89,  # NetworkTimeout
        91,  # ShutdownInProgress
        112,  # WriteConflict
        _WRITES_BLOCKED,
        133,  # FailedToSatisfyReadPreference
        134,  # ReadConcernMajorityNotAvailableYet
        189,  # PrimarySteppedDown
        202,  # NetworkInterfaceExceededTimeLimit
        225,  # TransactionTooOld
        239,  # SnapshotTooOld
        246,  # SnapshotUnavailable
        251,  # NoSuchTransaction
        262,  # ExceededTimeLimit
        290,  # TransactionExceededLifetimeLimitSeconds
        9001,  # SocketException
        10107,  # NotWritablePrimary
        11600,  # InterruptedAtShutdown
        11601,  # Interrupted
        11602,  # InterruptedDueToReplStateChange
        13388,  # StaleConfig
        13435,  # NotPrimaryNoSecondaryOk
        13436,  # NotPrimaryOrSecondary
        14031,  # OutOfDiskSpace
    }
)
#: Raised by the driver before anything is sent: the document cannot be encoded.
_NOT_ENCODABLE: Final = (BSONError, DocumentTooLarge, OverflowError, UnicodeEncodeError)
_TRANSIENT_LABELS: Final = ("TransientTransactionError", "RetryableWriteError", "UnknownTransactionCommitResult")


@contextmanager
def mongo_call(what: str, timeout_s: float | None = None) -> Iterator[None]:
    """Bound the MongoDB operations of the block to `timeout_s` seconds in all, and translate their errors.

    Raises:
        StoreUnavailable: `what` (the operation and the shard) and `mongo_reason`; `PermanentFailure` or `UnknownFailure` by the tables above.
    """
    try:
        with pymongo.timeout(timeout_s):
            yield
    except (PyMongoError, *_NOT_ENCODABLE) as error:
        if refusal := mongo_refusal(error):
            refusals.note("MongoDB", f"{what}: MongoDB {refusal}")
        raise _kind(error)(f"{what}: MongoDB {mongo_reason(error)}") from error


def _kind(error: Exception) -> type[StoreUnavailable]:
    if isinstance(error, _NOT_ENCODABLE):
        return PermanentFailure
    if isinstance(error, PyMongoError):
        labelled = any(error.has_error_label(label) for label in _TRANSIENT_LABELS)
        if isinstance(error, ConnectionFailure | ExecutionTimeout) or error.timeout or labelled:
            return StoreUnavailable
    codes = _codes(error)
    if codes & _PERMANENT_CODES:
        return PermanentFailure
    return StoreUnavailable if codes & _TRANSIENT_CODES else UnknownFailure


def _codes(error: Exception) -> set[int]:
    if isinstance(error, BulkWriteError):
        details = error.details or {}
        return {one["code"] for one in (*details.get("writeErrors", ()), *details.get("writeConcernErrors", ()))}
    return {error.code} if isinstance(error, OperationFailure) and error.code is not None else set()


def are_writes_blocked(error: StoreUnavailable) -> bool:
    """Whether a bucket's writes were refused because it is being moved. Those of other buckets are not."""
    return isinstance(error.__cause__, PyMongoError) and _WRITES_BLOCKED in _codes(error.__cause__)


def is_duplicate_key(error: BulkWriteError | DuplicateKeyError) -> bool:
    """Whether a write was refused because its `_id` exists."""
    if isinstance(error, DuplicateKeyError):
        return True
    return any(one.get("code") == _DUPLICATE_KEY for one in (error.details or {}).get("writeErrors", ()))


def mongo_refusal(error: Exception) -> str | None:
    """What MongoDB refuses, and what to do; None if it is anything else."""
    if isinstance(error, OperationFailure) and error.code in _REFUSALS:
        return _REFUSALS[error.code]
    if not isinstance(error, ConnectionFailure):
        return None
    return refusals.certificate_problem(str(error), "mongo_security")


def mongo_reason(error: Exception) -> str:
    """Why MongoDB did not do it. Not the driver's text, which may hold an address or a document."""
    if refusal := mongo_refusal(error):
        return refusal
    if isinstance(error, OperationFailure) and error.code == _SNAPSHOT_TOO_OLD:
        return "did not keep the time at which it was read for so long: raise its parameter minSnapshotHistoryWindowInSeconds"
    if "SSL handshake failed" in str(error):
        return "cannot be reached with TLS: check mongo_security.tls"
    return f"failed: {type(error).__name__}"
