"""Periods of the sealed sums: an hour by default, aligned to the Unix epoch.

A notification names the end of the period in which its ledger counted it, as the last element of its document.
"""

from __future__ import annotations

from datetime import UTC, datetime
from struct import Struct
from typing import Final

from bson.raw_bson import RawBSONDocument

PERIOD_END: Final = "period_end"
#: `kept_from` (`person_slots`) and `period_end` end a document.
_ELEMENTS: Final = Struct("<11sq12sqx").pack
_TIMES: Final = Struct("<q12sqx")
_KEPT_FROM_NAME: Final = b"\x09kept_from\0"
_PERIOD_END_NAME: Final = b"\x09period_end\0"


def end_of_period(at: datetime, period_s: int) -> datetime:
    """The end of the period that `at` is in; a period has its beginning and not its end."""
    return datetime.fromtimestamp((int(at.timestamp()) // period_s + 1) * period_s, UTC)


def period_elements(kept_from_ms: int, period_end_ms: int) -> bytes:
    """The bytes with which a notification's document ends; times in milliseconds since the epoch."""
    return _ELEMENTS(_KEPT_FROM_NAME, kept_from_ms, _PERIOD_END_NAME, period_end_ms)


def with_period_end(document: RawBSONDocument, period_end: datetime) -> RawBSONDocument:
    """The same notification in another period."""
    kept, tail = document.raw[: -_TIMES.size], document.raw[-_TIMES.size :]
    kept_from_ms, name, before_ms = _TIMES.unpack(tail)
    end_ms = int(period_end.timestamp() * 1000)
    return RawBSONDocument(bytes(kept) + _TIMES.pack(kept_from_ms + end_ms - before_ms, name, end_ms))
