"""A log line is bounded and tells nothing of what a sender wrote."""

from __future__ import annotations

import logging
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.errors import RetryLater
from notify_streams.logs import MAX_LINE_BYTES, FalseWarningFilter, JsonLines, logging_config

_texts = st.text(st.characters(), max_size=30)
_long = st.builds(lambda text, times: text * times, _texts, st.sampled_from([1, 100, 20_000]))
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary(max_size=50)
    | _long
    | st.builds(lambda: 10**5000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=5,
)


def line_of(message: str, *args: Any, error: BaseException | None = None, **extra: Any) -> str:
    record = logging.LogRecord(
        "a", logging.ERROR, __file__, 1, message, args, None if error is None else (type(error), error, None)
    )
    vars(record).update(extra)
    return JsonLines().format(record)


@given(message=_long, args=st.lists(_values, max_size=2), extra=st.dictionaries(_long, _values, max_size=40))
def test_every_line_is_one_bounded_line_of_json(message: str, args: list[Any], extra: dict[str, Any]) -> None:
    fields = {name: value for name, value in extra.items() if name not in vars(logging.makeLogRecord({}))}
    line = line_of(message, *args, error=ValueError(message), **fields)
    assert len(line.encode()) <= MAX_LINE_BYTES
    assert len(line.splitlines()) == 1
    assert orjson.loads(line)["level"] == "ERROR"


def raised(message: str, cause: BaseException | None = None) -> BaseException:
    try:
        raise ExceptionGroup("of " + message, [ValueError(message), KeyError(message)]) from cause
    except ExceptionGroup as error:
        return error


SECRET = "ann@example.org"
LINES = [
    pytest.param(line_of("failed", error=raised(SECRET, KeyError(SECRET))), id="a traceback"),
    pytest.param(line_of("failed", error=ValueError(SECRET)), id="a field"),
    pytest.param(line_of("crashed: %r", ValueError(SECRET)), id="an argument"),
    pytest.param(line_of(f"Task exception was never retrieved\nfuture: {SECRET}"), id="a second line"),
]


@pytest.mark.parametrize("line", LINES)
def test_the_text_of_an_exception_is_not_logged(line: str) -> None:
    assert SECRET not in line
    assert "message" in line


def test_a_traceback_says_which_exceptions_were_raised_where() -> None:
    error = orjson.loads(line_of("failed", error=raised("x", ConnectionResetError(104, "reset"))))["error"]
    assert "ExceptionGroup" in error and f"{__file__}:" in error and " raised" in error
    assert "ValueError" in error and "KeyError" in error
    assert "ConnectionResetError: [Errno 104] reset" in error


def test_our_own_errors_and_those_of_the_system_are_logged_with_their_text() -> None:
    assert (
        orjson.loads(line_of("x", problem=RetryLater("shard 1: try again")))["problem"]
        == "RetryLater: shard 1: try again"
    )
    assert "refused" in line_of("x", problem=ConnectionRefusedError(111, "refused"))


@pytest.mark.parametrize("letter", ["\u2028", "\u202e", "\x1b", "\x85", "\ud800"])
def test_characters_that_a_terminal_may_interpret_are_escaped(letter: str) -> None:
    line = line_of("x", field=f"a{letter}b")
    assert letter not in line
    assert orjson.loads(line)["field"] == "a" + letter.encode("unicode_escape").decode() + "b"


def test_a_line_names_the_worker() -> None:
    config = logging_config("INFO", "eu", "push")["formatters"]["json"]
    formatter = JsonLines(region=config["region"], role=config["role"])
    line = orjson.loads(formatter.format(logging.makeLogRecord({"name": "a", "msg": "x", "trace_id": "0af7"})))
    assert (line["region"], line["role"], line["trace_id"]) == ("eu", "push", "0af7")


@pytest.mark.parametrize(
    ("template", "passes"),
    [
        ("Missing sensor state for rebalance #%s", False),
        ("Missing sensor state for rebalance end #%s", False),
        ("Timer %s is overlapping", True),
    ],
)
def test_warnings_of_faust_that_are_always_wrong_are_dropped(template: str, passes: bool) -> None:
    record = logging.makeLogRecord({"msg": template, "args": (0,), "levelno": logging.WARNING})
    assert FalseWarningFilter().filter(record) is passes
