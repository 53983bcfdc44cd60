"""The outages that are measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notify_streams.roles import Channel

#: The engine counts a call without an answer for so long as a failure.
LATE_S: Final = 2.0
_RETRY_AFTER_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Outage:
    """One way in which a provider fails."""

    name: str
    channel: Channel = "push"
    provider: str = "fcm"
    #: The fields of the sandbox's `FaultPlan`; empty: the sandbox is stopped with SIGSTOP.
    faults: Mapping[str, Any] = field(default_factory=dict)
    #: Whether calls end at once.
    is_answered: bool = True
    #: The time that the provider asks for.
    retry_after_s: float | None = None

    @property
    def is_stopped(self) -> bool:
        return not self.faults


OUTAGES: Final = (
    Outage("503", faults={"fail": {"status": 503}}),
    Outage("time-outs", faults={"hang": True}, is_answered=False),
    Outage(
        "429",
        faults={"fail": {"status": 429, "retry_after_s": _RETRY_AFTER_S}},
        retry_after_s=_RETRY_AFTER_S,
    ),
    Outage("401", faults={"fail": {"status": 401}}),
    Outage("SMTP 451", channel="email", provider="smtp", faults={"fail": {"status": 451}}),
    Outage("cut after the request", faults={"lose_answer": True}),
    Outage("SIGSTOP", is_answered=False),
)
