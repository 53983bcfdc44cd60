"""The invariants of the race, checked on what happened to one user."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class ObservedChoice:
    """A choice that a user made. All times of a race are from one clock, in seconds."""

    opted_in: bool
    #: As `http`, `topic` or `one_click`.
    path: str
    called_at: float
    #: None: not acknowledged; the choice may be stored or not.
    acknowledged_at: float | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A provider call: when its last check began, and when the call began."""

    checked_at: float
    began_at: float
    step: str


@dataclass(frozen=True, slots=True)
class Suppression:
    """A message that was not sent because of the user's choice: when the check began and ended."""

    checked_at: float
    ended_at: float
    step: str


@dataclass(slots=True)
class Observations:
    """What happened to one user."""

    seed: int
    choices: list[ObservedChoice] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    suppressions: list[Suppression] = field(default_factory=list)
    #: Failed checks; their messages were not sent.
    failed_checks: int = 0


def violations(observations: Observations, bound_s: float) -> Iterator[str]:
    """A description of each violation.

    1. No call begins later than `bound_s` after an acknowledged opt-out.
    2. No call relies on a check that began after an acknowledged opt-out.
    3. No message is suppressed by a check that began after an acknowledged opt-in.
    """
    seed = observations.seed
    for call in observations.calls:
        late = _certain_choice(observations, call.began_at - bound_s, call.began_at)
        if late is not None and not late.opted_in:
            after_s = call.began_at - (late.acknowledged_at or 0)
            yield f"seed {seed}: {call.step}: a call began {after_s:.3f} s after an opt-out by {late.path}"
        missed = _certain_choice(observations, call.checked_at, call.began_at)
        if missed is not None and not missed.opted_in:
            yield f"seed {seed}: {call.step}: a check missed an opt-out by {missed.path} acknowledged before it"
    for suppression in observations.suppressions:
        missed = _certain_choice(observations, suppression.checked_at, suppression.ended_at)
        if missed is not None and missed.opted_in:
            yield f"seed {seed}: {suppression.step}: a check missed an opt-in by {missed.path} acknowledged before it"


def _certain_choice(observations: Observations, acknowledged_by: float, until: float) -> ObservedChoice | None:
    """The last choice acknowledged before `acknowledged_by`; None if an opposite choice was called after it, before `until`."""
    choices = observations.choices
    known = [one for one in choices if one.acknowledged_at is not None and one.acknowledged_at < acknowledged_by]
    if not known:
        return None
    last = max(known, key=lambda choice: choice.called_at)
    contradicted = any(last.called_at < one.called_at <= until and one.opted_in != last.opted_in for one in choices)
    return None if contradicted else last
