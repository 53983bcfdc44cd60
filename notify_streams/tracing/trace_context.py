"""`traceparent`: which trace and span a record belongs to.

https://www.w3.org/TR/trace-context/#traceparent-header. A header that does not have its form counts as none.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Also the name of the field in channel messages, attempts and notifications.
TRACEPARENT: Final = "traceparent"
#: Of version 00. Later versions may add fields.
_LENGTH: Final = 55
_FORM: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-[!-~]*)?"
)
_SAMPLED: Final = 1


class TraceContext(msgspec.Struct, frozen=True, gc=False):
    """One span of one trace."""

    trace_id: int
    span_id: int
    #: False: this trace is not recorded.
    sampled: bool = True

    def child(self) -> TraceContext:
        """Another span of the same trace."""
        return TraceContext(self.trace_id, new_span_id())

    def not_sampled(self) -> TraceContext:
        """For what follows, of which nothing is recorded. The flag may only change together with the span."""
        return TraceContext(self.trace_id, new_span_id(), sampled=False)

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{'01' if self.sampled else '00'}"


def new_trace() -> TraceContext:
    """The first span of a new trace."""
    return TraceContext(random.getrandbits(128) or 1, new_span_id())


def new_span_id() -> int:
    return random.getrandbits(64) or 1


def parse_traceparent(content: str | bytes | None) -> TraceContext | None:
    """The context that a header's content or a field names; None if it is not valid."""
    if content is None or len(content) < _LENGTH:
        return None
    found = _FORM.fullmatch(content.encode() if isinstance(content, str) else content)
    if found is None or (content[:2] in ("00", b"00") and len(content) != _LENGTH):
        return None
    return TraceContext(int(found[1], 16), int(found[2], 16), bool(int(found[3], 16) & _SAMPLED))


def read_traceparent(headers: Iterable[tuple[str, bytes | None]]) -> TraceContext | None:
    """The context among the headers of a record. Two such headers count as none."""
    found = None
    for name, content in headers:
        if name == TRACEPARENT:
            if found is not None:
                return None
            found = content
    return None if found is None else parse_traceparent(found)


def trace_fields(source: Iterable[tuple[str, bytes | None]] | str) -> dict[str, str]:
    """The field ``trace_id`` of a log line about a record, by its headers or by a `traceparent`; nothing if no trace is known."""
    context = parse_traceparent(source) if isinstance(source, str) else read_traceparent(source)
    return {} if context is None else {"trace_id": f"{context.trace_id:032x}"}
