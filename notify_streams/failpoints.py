"""Named places in the real code path where a test can kill, raise or stall the process.

Armed only by ``NOTIFY_FAILPOINTS``, e.g. ``after_commit=kill@3,before_provider=stall:2.5@1``: action at the n-th passage (1 is the first).
Without the variable a passage is one look into an empty dict.
"""

from __future__ import annotations

import os
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
        SettingsError: an unknown name or action.
    """
    armed: dict[str, _Armed] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, rest = part.partition("=")
        action, _, at = rest.partition("@")
        action, _, seconds = action.partition(":")
        if name not in NAMES or action not in ("kill", "raise", "stall"):
            raise SettingsError(
                f"NOTIFY_FAILPOINTS: {part!r}: want name=kill|raise|stall:SECONDS@N, name one of {', '.join(NAMES)}"
            )
        armed[name] = _Armed(action, int(at or 1), float(seconds or 0))
    return armed


_armed: Final = parse(os.environ.get("NOTIFY_FAILPOINTS", ""))


def reach(name: Name) -> None:
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
