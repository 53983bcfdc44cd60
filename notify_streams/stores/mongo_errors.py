"""Translates MongoDB's errors into errors of this application."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pymongo
from pymongo.errors import OperationFailure, PyMongoError

from notify_streams.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Codes of failed log-ins and of users without the right (https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml).
_REFUSALS: Final = {13: "refuses: the user has not the right", 18: "refuses the user name or password"}
_CERTIFICATE: Final = re.compile(r"certificate verify failed: ([^(]{1,200})")


@contextmanager
def mongo_call(what: str, timeout_s: float | None = None) -> Iterator[None]:
    """Bound the MongoDB operations of the block to `timeout_s` seconds in all, and translate their errors.

    Raises:
        StoreUnavailable: `what` (the operation and the shard) and `mongo_reason`.
    """
    try:
        with pymongo.timeout(timeout_s):
            yield
    except PyMongoError as error:
        raise StoreUnavailable(f"{what}: MongoDB {mongo_reason(error)}") from error


def mongo_reason(error: PyMongoError) -> str:
    """Why MongoDB did not do it. Not the driver's text, which may hold an address or a document."""
    if isinstance(error, OperationFailure) and error.code in _REFUSALS:
        return _REFUSALS[error.code]
    if found := _CERTIFICATE.search(str(error)):
        return f"has a certificate that is not accepted: {found[1].strip()}"
    if "SSL handshake failed" in str(error):
        return "cannot be reached with TLS: check `mongo_security.tls`"
    return f"failed: {type(error).__name__}"
