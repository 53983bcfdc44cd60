"""The events of one seed: a user's choices and the messages around them."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final, Literal

#: Choices are made by the PUT view or by a record on `preference_updates`.
Path = Literal["http", "topic"]

#: All triggers and choices of a seed are within this time; processing takes longer.
_ACTIVE_S: Final = 1.5
#: The least time between two choices of one user.
_BETWEEN_CHOICES_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class ChoiceEvent:
    """The user makes a choice. Times are seconds from the start of the seed."""

    at_s: float
    path: Path
    opted_in: bool


@dataclass(frozen=True, slots=True)
class MessageSchedule:
    """A trigger, and how long its message waits at each step."""

    at_s: float
    #: In the channel topic, before a worker reads it.
    queued_s: float
    #: Claimed and checked, waiting for a free connection.
    claimed_s: float
    #: The call fails and is repeated after this; None: it succeeds.
    retry_s: float | None
    #: An operator replays the message after this; None: no replay.
    replay_s: float | None


@dataclass(frozen=True, slots=True)
class RaceSchedule:
    """One user, one seed."""

    seed: int
    user_id: str
    opted_in_at_start: bool
    choices: tuple[ChoiceEvent, ...]
    messages: tuple[MessageSchedule, ...]


def schedule_of(seed: int, young_s: float) -> RaceSchedule:
    """The schedule of `seed`. A third of the waits are longer than `young_s`, so that deltas have expired or are not trusted."""
    random = Random(seed)

    def wait() -> float:
        return random.choice((random.uniform(0, 0.05), random.uniform(0, 1.2), young_s + random.uniform(0, 0.5)))

    at_s = random.uniform(0.1, 0.5)
    choices = []
    for _ in range(random.randint(1, 4)):
        choices.append(ChoiceEvent(at_s, random.choice(("http", "topic")), random.random() < 0.45))
        gaps_s = (_BETWEEN_CHOICES_S, random.uniform(_BETWEEN_CHOICES_S, 0.4), random.uniform(0.4, 1.5))
        at_s += random.choice(gaps_s)
    messages = [
        MessageSchedule(
            at_s=random.choice(
                (random.uniform(0, _ACTIVE_S), abs(random.choice(choices).at_s + random.uniform(-0.02, 0.08)))
            ),
            queued_s=wait(),
            claimed_s=random.choice((0, random.uniform(0, 0.7), random.uniform(1.1, 2.5))),
            retry_s=wait() if random.random() < 0.3 else None,
            replay_s=wait() if random.random() < 0.15 else None,
        )
        for _ in range(random.randint(3, 8))
    ]
    return RaceSchedule(seed, f"race-{seed}", random.random() < 0.5, tuple(choices), tuple(messages))
