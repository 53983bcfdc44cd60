"""What must hold for one person: judged from when choices were acknowledged and when calls began. Values in, violations out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class Chosen:
    """A choice; all times are `time.monotonic`. One that was never acknowledged may hold or not."""

    opted_in: bool
    way: str
    called_at: float
    acknowledged_at: float | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A provider call: when the check began that it relied on, and when it began itself."""

    checked_at: float
    began_at: float
    stage: str


@dataclass(frozen=True, slots=True)
class Suppression:
    """A message that was not sent because of the person's choice: when the check began and ended."""

    checked_at: float
    ended_at: float
    stage: str


@dataclass(slots=True)
class Observations:
    """Everything that happened to one person."""

    seed: int
    choices: list[Chosen] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    suppressions: list[Suppression] = field(default_factory=list)
    #: Checks that could not be had; their messages were not sent.
    put_off: int = 0


def violations(story: Observations, bound_s: float) -> Iterator[str]:
    """Every breach in the story, in words.

    1. No call begins later than `bound_s` after an acknowledged opt-out.
    2. No call relies on a check that began after an acknowledged opt-out.
    3. No message is suppressed by a check that began after an acknowledged opt-in.
    """
    for call in story.calls:
        late = _holding(story, call.began_at - bound_s, call.began_at)
        if late is not None and not late.opted_in:
            after_s = call.began_at - (late.acknowledged_at or 0)
            yield f"seed {story.seed}: {call.stage}: a call began {after_s:.3f} s after an opt-out by {late.way}"
        blind = _holding(story, call.checked_at, call.began_at)
        if blind is not None and not blind.opted_in:
            yield f"seed {story.seed}: {call.stage}: a check did not see an opt-out by {blind.way} acknowledged before it"
    for suppression in story.suppressions:
        blind = _holding(story, suppression.checked_at, suppression.ended_at)
        if blind is not None and blind.opted_in:
            yield f"seed {story.seed}: {suppression.stage}: a check did not see an opt-in by {blind.way} acknowledged before it"


def _holding(story: Observations, acknowledged_by: float, until: float) -> Chosen | None:
    """The choice that holds for sure: acknowledged in time, and none of the other kind was even called for since."""
    known = [c for c in story.choices if c.acknowledged_at is not None and c.acknowledged_at < acknowledged_by]
    if not known:
        return None
    last = max(known, key=lambda choice: choice.called_at)
    if any(
        c.called_at > last.called_at and c.called_at <= until and c.opted_in != last.opted_in for c in story.choices
    ):
        return None
    return last
