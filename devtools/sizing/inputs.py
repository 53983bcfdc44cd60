"""What a plan is calculated from: measured figures, assumptions, prices."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from devtools.sizing.record_lengths import RecordLengths, record_lengths
from devtools.stack.paths import PROJECT
from notify_streams.settings import Settings, load_settings

#: Of `docs/sizing.md` and `k8s/components/size-100m`.
PEOPLE: Final = 100_000_000
RATE: Final = 50_000
_MEASUREMENTS: Final = PROJECT / "docs" / "measurements"
#: File → the command that measured its figures, and how.
COMMANDS: Final = {
    "router.json": (
        "`bench steps` (CPU); `bench router` (rates, all services on the same two cores); `bench transport` (a record of the other lane: "
        "a no-op agent)"
    ),
    "delivery.json": "`bench delivery`; the clients of mail and push alone: docs/architecture/decisions.md",
    "tables_1m.json": "`bench transport` (locations in memory, 1M rows)",
    "tables.json": "`bench tables --people 10000000 --write docs/measurements/tables.json`; what is `calculated` there is not used",
}


@dataclass(frozen=True, slots=True)
class Inputs:
    """One region, with all people."""

    people: int
    #: Triggers a second in a burst.
    rate: int
    #: Name → figure; the unit is in the name.
    measured: dict[str, float]
    assumed: dict[str, Any]
    prices: dict[str, Any]
    lengths: RecordLengths
    settings: Settings


def inputs(people: int, rate: int) -> Inputs:
    """The inputs for so many people and triggers a second."""
    measured: dict[str, float] = {}
    for file in COMMANDS:
        figures: dict[str, float] = json.loads((_MEASUREMENTS / file).read_text())
        measured |= {name: value for name, value in figures.items() if not name.endswith("_calculated")}
    settings = load_settings("us", environ={}, config_dir=PROJECT / "config")
    return Inputs(people, rate, measured, _read("assumptions"), _read("prices"), record_lengths(), settings)


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(Path(__file__).with_name(f"{name}.yaml").read_text())
    return found
