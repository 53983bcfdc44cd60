"""Log format: one JSON object a line on stderr."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any, Final

import orjson

#: Attributes that every log record has; the others come from ``extra``.
_STANDARD_ATTRIBUTES: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "color_message",
    "taskName",
}
#: Faust warns so about the assignor's own topic, which no worker fetches (faust-streaming/faust#629).
_FALSE_WARNING: Final = "has not sent fetch request"
#: Libraries that log each step at INFO.
_VERBOSE_LOGGERS: Final = ("aiokafka", "botocore", "faust", "mode", "pymongo")


class JsonLines(logging.Formatter):
    """Formats a log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        created_at = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "at": created_at.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD_ATTRIBUTES}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class FalseWarningFilter(logging.Filter):
    """Drops a warning of Faust that is always wrong."""

    def filter(self, record: logging.LogRecord) -> bool:
        return _FALSE_WARNING not in str(record.msg)


def logging_config(level: str) -> dict[str, Any]:
    """The configuration for `logging.config.dictConfig`. `level` is the root logger's."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonLines}},
        "filters": {"false_warnings": {"()": FalseWarningFilter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "filters": ["false_warnings"]}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {name: {"level": "WARNING"} for name in _VERBOSE_LOGGERS},
    }
