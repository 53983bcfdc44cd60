"""Log format: one JSON object a line on stderr, bounded in size and in rate.

Each line has the worker's region and role, and `trace_id` if it is about a record of a known trace.

What a sender wrote must neither fill the log nor appear in it: each text is a prefix with its unprintable characters escaped, and of an
exception that is not ours, Kafka's or the operating system's only the type is logged, because its text may repeat what it could not read.
"""

from __future__ import annotations

import logging
import re
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from notify_streams import metrics

#: Of a line, without its end. A line that would be longer keeps only its first fields.
MAX_LINE_BYTES: Final = 16 * 1024
_MAX_TEXT: Final = 500
_MAX_TRACEBACK: Final = 6_000
#: Frames of one exception, the innermost ones; exceptions of one chain or group.
_MAX_FRAMES: Final = 15
_MAX_EXCEPTIONS: Final = 5
#: The packages whose exceptions are logged with their text.
_TRUSTED_TEXTS: Final = ("notify_streams", "aiokafka")

#: Attributes that every log record has; the others come from ``extra``.
_STANDARD_ATTRIBUTES: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "color_message",
    "taskName",
}
#: Faust warns so about the assignor's own topic, which no worker fetches (faust-streaming/faust#629), and in a worker without source
#: topics at each start, about the state of its sensors.
_FALSE_WARNINGS: Final = ("has not sent fetch request", "Missing sensor state for rebalance")
#: Libraries that log each step at INFO.
_VERBOSE_LOGGERS: Final = ("aiokafka", "botocore", "faust", "mode", "pymongo")

_REPEAT_EVERY_S: Final = 60.0
_MAX_KINDS: Final = 1_000
_NUMBERS: Final = re.compile(r"0x[0-9a-f]+|[0-9]+")
#: Fields that tell lines of one message apart: each names one of few things.
_IDENTITY: Final = (
    "call",
    "topic",
    "partition",
    "table",
    "shard",
    "bucket",
    "from",
    "to",
    "view",
    "agent",
    "provider",
    "category",
    "what",
)


class JsonLines(logging.Formatter):
    """Formats a log record as one line of JSON of at most `MAX_LINE_BYTES`."""

    def __init__(self, region: str | None = None, role: str | None = None) -> None:
        """Of one worker; None: of no region or role."""
        super().__init__()
        worker = {"region": region, "role": role}
        self._worker = {name: value for name, value in worker.items() if value is not None}

    def format(self, record: logging.LogRecord) -> str:
        created_at = datetime.fromtimestamp(record.created, UTC)
        head: dict[str, Any] = {
            "at": created_at.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            **self._worker,
            "logger": bounded(record.name),
            "message": bounded(_message(record)),
        }
        line = head | {
            bounded(name): _field(value) for name, value in vars(record).items() if name not in _STANDARD_ATTRIBUTES
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = bounded(_traceback(record.exc_info[1]), _MAX_TRACEBACK)
        encoded = orjson.dumps(line)
        return (encoded if len(encoded) <= MAX_LINE_BYTES else orjson.dumps(head)).decode()


class FalseWarningFilter(logging.Filter):
    """Drops warnings of Faust that are always wrong."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not any(text in str(record.msg) for text in _FALSE_WARNINGS)


class RepeatFilter(logging.Filter):
    """Passes one line a minute of each kind: logger, message template and the fields that name what it is about.

    The next line of the kind says in `suppressed` how many were dropped since; `notify_suppressed_log_lines_total` counts them at once.
    A line with the field `every_line` always passes: an audit needs each.
    """

    def __init__(self) -> None:
        super().__init__()
        #: Kind → when its last line passed, the lines dropped since. The longest unused first.
        self._kinds: dict[tuple[object, ...], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        fields = vars(record)
        if fields.get("every_line"):
            return True
        template = _NUMBERS.sub("#", str(record.msg)[:200].partition("\n")[0])
        kind = (record.name, record.levelno, template, *(str(fields.get(name))[:200] for name in _IDENTITY))
        passed_at, suppressed = self._kinds.pop(kind, (float("-inf"), 0))
        if 0 <= record.created - passed_at < _REPEAT_EVERY_S:
            self._kinds[kind] = passed_at, suppressed + 1
            metrics.SUPPRESSED_LOG_LINES.inc()
            return False
        if len(self._kinds) >= _MAX_KINDS:
            del self._kinds[next(iter(self._kinds))]
        self._kinds[kind] = record.created, 0
        if suppressed:
            record.suppressed = suppressed
        return True


def bounded(text: str, limit: int = _MAX_TEXT) -> str:
    """The first `limit` characters, with escapes for those that a terminal or a log viewer may interpret."""
    prefix = text[:limit]
    if not prefix.isprintable():
        prefix = "".join(
            letter if letter.isprintable() or letter == "\n" else letter.encode("unicode_escape").decode()
            for letter in prefix
        )
    return prefix if len(text) <= limit else f"{prefix}… ({len(text)} characters)"


def _message(record: logging.LogRecord) -> str:
    """The first line: asyncio and Faust append representations of what was in use."""
    args = record.args
    if isinstance(args, tuple):
        args = tuple(_shown(one) for one in args)
    text = str(record.msg)
    with suppress(Exception):  # a library's arguments may not fit its template
        text = text % args if args else text
    return text.partition("\n")[0]


def _shown(value: object) -> object:
    return _exception(value) if isinstance(value, BaseException) else value


def _field(value: object) -> bool | float | str | None:
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and value.bit_length() < 64):
        return value
    try:
        return bounded(str(_shown(value)))
    except Exception as error:  # an integer of thousands of digits, a broken `__str__`
        return f"{type(value).__name__} that cannot be shown: {type(error).__name__}"


def _exception(error: BaseException) -> str:
    kind = type(error)
    if isinstance(error, OSError) or kind.__module__.partition(".")[0] in _TRUSTED_TEXTS:
        return f"{kind.__name__}: {error}"
    return kind.__name__


def _traceback(error: BaseException) -> str:
    """The exception, where it was raised, and the same for those that caused it or are in its group."""
    waiting: list[BaseException | None] = [error]
    parts: list[str] = []
    while waiting and len(parts) < _MAX_EXCEPTIONS:
        one = waiting.pop(0)
        if one is None:
            continue
        frames = traceback.extract_tb(one.__traceback__)[-_MAX_FRAMES:]
        where = "".join(f"\n  {frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
        parts.append(bounded(_exception(one)) + where)
        waiting += [one.__cause__ or (None if one.__suppress_context__ else one.__context__)]
        waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
    return "\n".join(parts)


def logging_config(level: str, region: str, role: str) -> dict[str, Any]:
    """The configuration for `logging.config.dictConfig`. `level` is the root logger's."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonLines, "region": region, "role": role}},
        "filters": {"false_warnings": {"()": FalseWarningFilter}, "repeats": {"()": RepeatFilter}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "json",
                "filters": ["false_warnings", "repeats"],
            }
        },
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {name: {"level": "WARNING"} for name in _VERBOSE_LOGGERS},
    }
