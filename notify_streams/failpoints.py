"""Failpoints: named places in the code where a test stops or fails the process.

``NOTIFY_FAILPOINTS=after_commit=kill@3,before_provider=stall:2.5`` kills the process when it passes `after_commit` for the third
time. Without the variable, passing a failpoint is one look into an empty dict.
"""

from __future__ import annotations

import os
import re
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, get_args

from notify_streams.errors import NotifyError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

RouterName = Literal[
    "after_fetch",
    "after_decide",
    "before_transaction",
    "inside_transaction",
    "after_commit",
    "after_publish",
    "before_row_deletion",
    "before_acknowledge",
    "after_acknowledge",
]
DeliveryName = Literal[
    "before_provider",
    "after_provider",
    "before_token",
    "after_token",
    "before_settlement",
    "inside_settlement",
    "after_settlement",
    "after_park",
    "before_resolve",
    "after_resolve",
    "after_timer_claim",
]
RestoreName = Literal["inside_restore_step", "after_restore_step"]
GrowthName = Literal[
    "after_growth_mark",
    "after_growth_step",
    "inside_growth_documents",
    "inside_growth_timers",
    "inside_growth_rows",
    "inside_growth_end",
]
#: Those that a worker passes.
WorkerName = Literal[RouterName, DeliveryName]
Name = Literal[WorkerName, RestoreName, GrowthName]
ROUTER_NAMES: Final[tuple[RouterName, ...]] = get_args(RouterName)
DELIVERY_NAMES: Final[tuple[DeliveryName, ...]] = get_args(DeliveryName)
WORKER_NAMES: Final[tuple[WorkerName, ...]] = (*ROUTER_NAMES, *DELIVERY_NAMES)
GROWTH_NAMES: Final[tuple[GrowthName, ...]] = get_args(GrowthName)
NAMES: Final[tuple[Name, ...]] = (*WORKER_NAMES, *get_args(RestoreName), *GROWTH_NAMES)

_PATTERN: Final = re.compile(
    r"(?P<name>\w+)=(?:(?P<action>kill|raise)|stall:(?P<seconds>\d+(?:\.\d+)?))(?:@(?P<at>[1-9]\d*))?"
)


class FailpointReached(NotifyError):
    """Raised by a failpoint that is armed with ``raise``."""


@dataclass(slots=True)
class ArmedFailpoint:
    action: str
    #: Acts when it is passed for the `at`-th time.
    at: int
    stall_s: float = 0.0
    passed: int = 0


def parse(text: str) -> dict[str, ArmedFailpoint]:
    """The failpoints of a value of ``NOTIFY_FAILPOINTS``, by name.

    Raises:
        SettingsError: an unknown name or action, or a number is missing.
    """
    armed: dict[str, ArmedFailpoint] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _PATTERN.fullmatch(part)
        if match is None or match["name"] not in NAMES:
            raise SettingsError(
                f"NOTIFY_FAILPOINTS: {part!r}: write name=kill|raise|stall:SECONDS@N, N from 1, name one of {', '.join(NAMES)}"
            )
        action = match["action"] or "stall"
        armed[match["name"]] = ArmedFailpoint(action, int(match["at"] or 1), float(match["seconds"] or 0))
    return armed


_armed: Final = parse(os.environ.get("NOTIFY_FAILPOINTS", ""))


def failpoint(name: Name) -> None:
    """Pass a failpoint."""
    if _armed and (point := _armed.get(name)) is not None:
        _pass(point)


@contextmanager
def armed(text: str) -> Iterator[dict[str, ArmedFailpoint]]:
    """Arm failpoints of this process for the block, in addition to those of the environment. For tests."""
    before = dict(_armed)
    _armed.update(added := parse(text))
    try:
        yield added
    finally:
        _armed.clear()
        _armed.update(before)


def _pass(point: ArmedFailpoint) -> None:
    point.passed += 1
    if point.passed != point.at:
        return
    if point.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif point.action == "stall":
        time.sleep(point.stall_s)  # blocks the whole process, as SIGSTOP does
    else:
        raise FailpointReached("a failpoint that is armed with raise was passed")
