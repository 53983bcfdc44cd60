"""Logs: one JSON object a line on stderr, with an `action` where the code names one. Never a person's contact, never a credential."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any, Final

import orjson

#: Attributes that every record has; the others came by ``extra``.
_USUAL: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}
#: Faust says so of the assignor's own topic, which no worker ever fetches (faust-streaming/faust#629).
_FALSE_ALARM: Final = "has not sent fetch request"
#: Libraries that tell every step.
_TALKATIVE: Final = ("aiokafka", "botocore", "faust", "mode", "pymongo")


class JsonLines(logging.Formatter):
    """One line a record."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "at": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _USUAL}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class WithoutFalseAlarms(logging.Filter):
    """Leaves out what is known to mean nothing."""

    def filter(self, record: logging.LogRecord) -> bool:
        return _FALSE_ALARM not in str(record.msg)


def logging_config(level: str) -> dict[str, Any]:
    """For `logging.config.dictConfig`."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonLines}},
        "filters": {"known": {"()": WithoutFalseAlarms}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "filters": ["known"]}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {name: {"level": "WARNING"} for name in _TALKATIVE},
    }
