"""What one seed does: a person's choices and the messages around them. A function of the seed; times are seconds from the start."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final, Literal

Way = Literal["http", "topic"]

#: All of a seed's triggers and choices happen within this time; what they led to takes longer.
_ACTIVE_S: Final = 1.5
#: Choices of one person follow each other by at least this, as those of one finger do.
_APART_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class ChoiceEvent:
    """The person chooses."""

    at_s: float
    way: Way
    opted_in: bool


@dataclass(frozen=True, slots=True)
class MessageEvent:
    """A trigger and the time that its message spends at each stage."""

    at_s: float
    #: In the channel topic, before a worker takes it.
    queued_s: float
    #: Claimed and checked, waiting for a free connection.
    claimed_s: float
    #: The call fails and is tried again after this; None: it succeeds at once.
    retry_s: float | None
    #: An operator replays the message after this.
    replay_s: float | None


@dataclass(frozen=True, slots=True)
class RaceSchedule:
    """One person, one seed."""

    seed: int
    user_id: str
    opted_in_at_start: bool
    choices: tuple[ChoiceEvent, ...]
    passages: tuple[MessageEvent, ...]


def plan_of(seed: int, young_s: float) -> RaceSchedule:
    """The plan of `seed`; a third of the waits are longer than `young_s`, so that deltas are gone or not to be relied on."""
    random = Random(seed)

    def wait() -> float:
        return random.choice((random.uniform(0, 0.05), random.uniform(0, 1.2), young_s + random.uniform(0, 0.5)))

    at_s = random.uniform(0.1, 0.5)
    choices = []
    for _ in range(random.randint(1, 4)):
        choices.append(ChoiceEvent(at_s, random.choice(("http", "topic")), random.random() < 0.45))
        at_s += random.choice((_APART_S, random.uniform(_APART_S, 0.4), random.uniform(0.4, 1.5)))
    passages = [
        MessageEvent(
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
    return RaceSchedule(seed, f"race-{seed}", random.random() < 0.5, tuple(choices), tuple(passages))
