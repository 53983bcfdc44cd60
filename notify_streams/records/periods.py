"""Periods of the sealed sums: an hour by default, aligned to the Unix epoch.

A notification names the end of the period in which its ledger counted it. That is the last element of its document.
"""

from __future__ import annotations

from datetime import UTC, datetime
from struct import Struct
from typing import Final

import bson
from bson.raw_bson import RawBSONDocument

PERIOD_END: Final = "period_end"
_INT64: Final = Struct("<q").pack
#: The value and the end of the document.
_TAIL: Final = 9


def end_of_period(at: datetime, period_s: int) -> datetime:
    """The end of the period that `at` is in; a period has its beginning and not its end."""
    return datetime.fromtimestamp((int(at.timestamp()) // period_s + 1) * period_s, UTC)


def period_element(period_end: datetime) -> bytes:
    """The bytes with which a notification's document ends."""
    return bson.encode({PERIOD_END: period_end})[4:]


def with_period_end(document: RawBSONDocument, period_end: datetime) -> RawBSONDocument:
    """The same notification in another period."""
    return RawBSONDocument(bytes(document.raw[:-_TAIL]) + _INT64(int(period_end.timestamp() * 1000)) + b"\0")
