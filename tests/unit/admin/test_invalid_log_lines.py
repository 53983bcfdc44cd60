"""The audit counts what it cannot read in the provider log, and says so."""

from __future__ import annotations

import pytest

from notify_streams.admin.audit.compare import compare
from notify_streams.admin.audit.region import accepted_row
from notify_streams.admin.audit.snapshot import RegionSnapshot
from notify_streams.admin.audit.totals import RegionTotals
from notify_streams.settings import Settings
from tests.builders import an_acceptance


@pytest.mark.parametrize(("ends", "found"), [([], []), ([17], [(1, 17)]), ([17, 40], [(2, 17)])])
def test_invalid_lines_are_a_difference(ends: list[int], found: list[tuple[int, int]]) -> None:
    snapshot = RegionSnapshot("us", has_log=True)
    for end in ends:
        snapshot.note_invalid_line(end)
    settings = Settings(region="us", kafka="k", shards=("m",), redis="r")
    checks = [one for one in compare(settings, snapshot, RegionTotals()) if one.check.startswith("invalid lines")]
    assert [(one.found, one.example) for one in checks] == [
        (count, f"the line that ends at byte {first}") for count, first in found
    ]
    assert not any(one.in_flight for one in checks)


@pytest.mark.parametrize("decided_at", ["9" * 400, "9" * 5_000, "-1", "1e3", ""])
def test_a_decision_time_that_is_none_does_not_end_the_audit(decided_at: str) -> None:
    line = an_acceptance(at=100.0, decided_at=decided_at)
    assert accepted_row(RegionSnapshot("us"), line, kept_since=0.0).id == line.delivery_id
