"""`traceparent`: what W3C Trace Context calls valid is read, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.tracing.trace_context import (
    TraceContext,
    new_trace,
    parse_traceparent,
    read_traceparent,
    trace_fields,
)
from notify_streams.tracing.traced_record import with_traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VALID = f"00-{TRACE}-{SPAN}-01"
MALFORMED = [
    pytest.param(None, id="a header without a value"),
    pytest.param(b"", id="empty"),
    pytest.param(b"00-1", id="too short"),
    pytest.param(VALID.upper(), id="upper case"),
    pytest.param(f"{VALID}-more", id="version 00 with a further field"),
    pytest.param(f"{VALID} ", id="a blank at its end"),
    pytest.param(f"ff-{TRACE}-{SPAN}-01", id="version ff"),
    pytest.param(f"00-{'0' * 32}-{SPAN}-01", id="no trace"),
    pytest.param(f"00-{TRACE}-{'0' * 16}-01", id="no span"),
    pytest.param(f"00-{TRACE}-{SPAN}-0g", id="flags that are no number"),
    pytest.param(f"01-{TRACE}-{SPAN}-01.more", id="a later version with another sign"),
    pytest.param(b"\xff" * 55, id="bytes"),
    pytest.param("ü" * 55, id="letters"),
    pytest.param(b"0" * 1_000_000, id="a megabyte"),
]


@pytest.mark.parametrize("content", MALFORMED)
def test_what_is_malformed_counts_as_none(content: str | bytes | None) -> None:
    assert parse_traceparent(content) is None
    raw = content.encode() if isinstance(content, str) else content
    assert read_traceparent([("traceparent", raw)]) is None


@pytest.mark.parametrize(
    ("content", "sampled"),
    [
        (VALID, True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-02", False),
        (f"00-{TRACE}-{SPAN}-ff", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-adds", True),
    ],
)
def test_what_is_valid_is_read(content: str, sampled: bool) -> None:
    expected = TraceContext(int(TRACE, 16), int(SPAN, 16), sampled)
    assert parse_traceparent(content) == parse_traceparent(content.encode()) == expected


@given(st.binary(max_size=80) | st.text(max_size=80))
def test_anything_may_be_read(content: str | bytes) -> None:
    parse_traceparent(content)


@given(st.booleans())
def test_what_is_written_is_read(sampled: bool) -> None:
    first = new_trace()
    one = first.child() if sampled else first.not_sampled()
    assert parse_traceparent(one.traceparent) == one
    assert (one.trace_id, one.sampled) == (first.trace_id, sampled) and one.span_id != first.span_id


def test_two_headers_count_as_none() -> None:
    header = ("traceparent", VALID.encode())
    assert read_traceparent([header]) is not None
    assert read_traceparent([header, header]) is None


def test_log_lines_name_the_trace() -> None:
    found = {"trace_id": TRACE}
    assert trace_fields([("baggage", b"user=ann"), ("traceparent", VALID.encode())]) == trace_fields(VALID) == found
    assert trace_fields([("traceparent", b"00-1")]) == trace_fields("") == {}


def test_a_record_has_one_traceparent() -> None:
    before = [("traceparent", VALID.encode()), ("critical", b"1"), ("traceparent", b"00-1")]
    one = new_trace()
    assert with_traceparent(before, one) == (("critical", b"1"), ("traceparent", one.traceparent.encode()))
