"""A short fuzz of a running region: hostile records on every topic stop no other record.

It sends the known cases and one drawn batch. `notify-streams chaos` goes on for minutes.
"""

from pathlib import Path

import pytest

from devtools.chaos.environment import ChaosEnvironment
from devtools.chaos.fuzz.run import fuzz

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

#: `notify-streams chaos` asks for 5 s. Test machines do other work at the same time.
LIMIT_S = 20.0


async def test_hostile_records_stop_no_others(tmp_path: Path) -> None:
    lines: list[str] = []
    async with ChaosEnvironment(tmp_path / "stack", 1, lines.append) as environment:
        report = await fuzz(environment, 0, 1, LIMIT_S, tmp_path / "failures")
    assert report["holds"], (report["faults"], report["differences"], lines)
    assert report["rounds"] >= 2 and report["records"] > 200
