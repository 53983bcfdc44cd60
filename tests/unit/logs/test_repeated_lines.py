"""An outage is one log line of each kind a minute, and a count."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from notify_streams import metrics
from notify_streams.logs import RepeatFilter


class Log:
    """Records through one filter; `at` in seconds."""

    def __init__(self) -> None:
        self._filter = RepeatFilter()
        self.passed: list[logging.LogRecord] = []

    def write(self, message: str, at: float = 0.0, name: str = "a", level: int = logging.WARNING, **extra: Any) -> None:
        record = logging.makeLogRecord({"msg": message, "name": name, "levelno": level, "created": at, **extra})
        if self._filter.filter(record):
            self.passed.append(record)


@pytest.fixture
def log() -> Log:
    return Log()


def test_ten_thousand_equal_lines_in_70_seconds_are_two(log: Log) -> None:
    before = metrics.REGISTRY.get_sample_value("notify_suppressed_log_lines_total") or 0
    for number in range(10_000):
        log.write("Unable connect to node with id %s: %s", at=number * 0.007, args=(number, "refused"))
    assert [vars(record).get("suppressed") for record in log.passed] == [None, 8_571]
    assert metrics.REGISTRY.get_sample_value("notify_suppressed_log_lines_total") == before + 9_998


@pytest.mark.parametrize(
    "second",
    [
        {"message": "another"},
        {"name": "b"},
        {"level": logging.INFO},
        {"call": "delivery.claim"},
        {"topic": "t", "partition": 1},
        {"at": 60.0},
        {"at": -1.0},
    ],
    ids=str,
)
def test_a_line_of_another_kind_or_minute_passes(log: Log, second: dict[str, Any]) -> None:
    log.write("failed")
    log.write(**{"message": "failed", **second})
    assert len(log.passed) == 2


@pytest.mark.parametrize(
    "messages",
    [
        ("task 0x7f21 failed after 12 s", "task 0x8e30 failed after 3 s"),
        ("Task exception was never retrieved\nfuture: <Task-1>", "Task exception was never retrieved\nfuture: <T>"),
        ("x" * 300, "x" * 200 + "y"),
    ],
    ids=["numbers", "second line", "after 200 characters"],
)
def test_lines_that_differ_in_details_are_of_one_kind(log: Log, messages: tuple[str, str]) -> None:
    log.write(messages[0])
    log.write(messages[1])
    assert len(log.passed) == 1


def test_the_offset_of_a_record_makes_no_new_kind(log: Log) -> None:
    for offset in range(5):
        log.write("record rejected", topic="user_contacts", offset=offset)
    assert len(log.passed) == 1


def test_the_kinds_that_are_remembered_are_bounded(log: Log) -> None:
    log.write("first")
    for number in range(1_000):
        log.write(f"kind {chr(0x4E00 + number)}")
    log.write("first")
    assert len(log.passed) == 1_002
