"""A pytest plugin: no log line of the whole suite shows a contact, a token or a sender's text.

It reads the lines that the tests' own process logs, as `logs.JsonLines` writes them, after each test, and the log files of workers at the end
of each process. Those of a stack are read when it is removed (`local_services.remove`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

import pytest

from notify_streams.logs import JsonLines
from tests.log_leaks import leaks, leaks_below

_OURS: Final = ("notify_streams", "agents", "tables", "faust", "mode", "aiokafka")


class _Watcher(logging.Handler):
    """Keeps what is wrong with the lines of this process."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(JsonLines())
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(_OURS):
            self.found += leaks([self.format(record)])


_watcher = _Watcher()


def pytest_configure() -> None:
    logging.getLogger().addHandler(_watcher)
    logging.getLogger("notify_streams").setLevel(logging.INFO)


@pytest.fixture(autouse=True)
def no_leak_in_log_lines() -> Iterator[None]:
    """Of this process during a test."""
    _watcher.found.clear()
    yield
    found, _watcher.found = _watcher.found, []
    assert not found, "\n".join(found)


@pytest.fixture(scope="session", autouse=True)
def no_leak_in_log_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Of workers that have logged into temporary folders of this process."""
    yield
    found = leaks_below(tmp_path_factory.getbasetemp())
    assert not found, "\n".join(found)
