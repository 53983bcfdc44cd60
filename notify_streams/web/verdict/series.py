"""The charts of the last hour: one point every 10 s.

A slot holds counts since the region was created, and values of the moment. Rates are differences between slots, so that a worker that was
away has lost none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from notify_streams.roles import CHANNELS, LANES, ROLES
from notify_streams.web.verdict.region_status import Series

if TYPE_CHECKING:
    from collections.abc import Mapping

SLOT_S: Final = 10
SLOTS: Final = 360
_MAX_VALUES: Final = 100


class Slot(msgspec.Struct, frozen=True):
    """What was known at one time."""

    #: Unix time in seconds.
    at: float
    #: The key of a line → its count or value.
    values: dict[str, float]


class _Line(NamedTuple):
    key: str
    name: str
    unit: str
    labels: dict[str, str]
    #: Its values are counts; the chart shows how fast they grow.
    is_rate: bool = True


_LINES: Final = (
    *(_Line(f"triggers:{lane}", "triggers", "/s", {"lane": lane}) for lane in LANES),
    *(
        _Line(f"deliveries:{channel}:{state}", "deliveries", "/s", {"channel": channel, "state": state})
        for channel in CHANNELS
        for state in ("sent", "failed")
    ),
    *(_Line(f"failures:{kind}", "failures", "/s", {"kind": kind}) for kind in ("failed", "expired", "dead_letter")),
    *(_Line(f"lag:{role}", "lag", "records", {"role": role}, is_rate=False) for role in ROLES),
    _Line("outbox", "outbox", "rows", {}, is_rate=False),
    _Line("critical_p50", "critical_p50", "s", {}, is_rate=False),
    _Line("critical_p99", "critical_p99", "s", {}, is_rate=False),
)
_KEYS: Final = frozenset(line.key for line in _LINES)


def slot_of(now: float) -> int:
    """The number of the slot of a Unix time."""
    return int(now // SLOT_S)


def is_valid(number: int, slot: Slot, now: float) -> bool:
    """Whether a slot that was stored can be shown."""
    present = slot_of(now)
    return present - SLOTS < number <= present + 1 and len(slot.values) <= _MAX_VALUES and slot.values.keys() <= _KEYS


def series(slots: Mapping[int, Slot], now: float) -> list[Series]:
    """The lines that have a value."""
    last = slot_of(now)
    numbers = range(last - SLOTS + 1, last + 1)
    known = [number for number in numbers if number in slots]
    if not known:
        return []
    # From the first known one: a region that has just begun has no line of nothing.
    shown = range(known[0], last + 1)
    found = []
    for line in _LINES:
        values = {number: slots[number] for number in known if line.key in slots[number].values}
        if not values:
            continue
        points = _rates(line.key, values) if line.is_rate else {n: slot.values[line.key] for n, slot in values.items()}
        found.append(
            Series(line.name, line.unit, line.labels, [(number * SLOT_S, points.get(number)) for number in shown])
        )
    return found


def _rates(key: str, slots: Mapping[int, Slot]) -> dict[int, float]:
    """How fast the count grew up to each slot. A count that fell was begun anew."""
    rates: dict[int, float] = {}
    before: Slot | None = None
    for number, slot in slots.items():
        if before is not None and slot.at > before.at:
            grown = slot.values[key] - before.values[key]
            rates[number] = round(max(0.0, grown) / (slot.at - before.at), 3)
        before = slot
    return rates
