"""Named places in the real code path where a test can kill, raise or stall the process.

Armed only by ``NOTIFY_FAILPOINTS``, e.g. ``after_commit=kill@3,before_provider=stall:2.5@1``: action at the n-th passage (1 is the first).
Without the variable a passage is one look into an empty dict.
"""

from __future__ import annotations

import os
import re
import signal
import time
from dataclasses import dataclass
from typing import Final, Literal, get_args

from notify_streams.errors import NotifyError, SettingsError

Name = Literal[
    "after_fetch",
    "after_decide",
    "before_transaction",
    "inside_transaction",
    "after_commit",
    "after_publish",
    "before_row_deletion",
    "before_acknowledge",
    "after_acknowledge",
    "before_provider",
    "after_provider",
]
NAMES: Final[tuple[Name, ...]] = get_args(Name)


_FORM: Final = re.compile(
    r"(?P<name>\w+)=(?:(?P<action>kill|raise)|stall:(?P<seconds>\d+(?:\.\d+)?))(?:@(?P<at>[1-9]\d*))?"
)


class FailpointReached(NotifyError):
    """A failpoint armed with ``raise`` was passed."""


@dataclass(slots=True)
class _Armed:
    action: str
    at: int
    stall_s: float = 0.0
    passed: int = 0


def parse(text: str) -> dict[str, _Armed]:
    """What ``NOTIFY_FAILPOINTS`` arms.

    Raises:
        SettingsError: an unknown name or action, or no number where one must be.
    """
    armed: dict[str, _Armed] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = _FORM.fullmatch(part)
        if found is None or found["name"] not in NAMES:
            raise SettingsError(
                f"NOTIFY_FAILPOINTS: {part!r}: want name=kill|raise|stall:SECONDS@N, N from 1, name one of {', '.join(NAMES)}"
            )
        action = found["action"] or "stall"
        armed[found["name"]] = _Armed(action, int(found["at"] or 1), float(found["seconds"] or 0))
    return armed


_armed: Final = parse(os.environ.get("NOTIFY_FAILPOINTS", ""))


def failpoint(name: Name) -> None:
    """Pass a failpoint."""
    if _armed and (point := _armed.get(name)) is not None:
        _pass(point)


def _pass(point: _Armed) -> None:
    point.passed += 1
    if point.passed != point.at:
        return
    if point.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif point.action == "stall":
        time.sleep(point.stall_s)  # the whole process stands still, as after SIGSTOP
    else:
        raise FailpointReached("a failpoint armed with raise")
