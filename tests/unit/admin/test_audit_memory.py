"""The audit of ten million deliveries takes less than 512 MB, as a process of its own."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from notify_streams.admin.audit.compare import compare, summary
from notify_streams.admin.audit.parts import Parts, parts_for
from notify_streams.admin.audit.region_part import read_part
from notify_streams.admin.audit.snapshot import RegionSnapshot
from notify_streams.admin.audit.totals import RegionTotals
from tests.builders import some_settings
from tests.unit.admin.test_audit_parts import rows_of_a_delivery

PROJECT = Path(__file__).parents[3]
LIMIT_MB = 512


def audit_of(deliveries: int) -> int:
    """Compare so many deliveries, each with a message, an attempt and a line of the provider log; returns the most memory taken (MB)."""
    snapshot, totals = RegionSnapshot("us", has_log=True), RegionTotals()
    with TemporaryDirectory(prefix="notify-audit-") as folder:
        # `count_rows` counts notifications and attempts.
        parts = Parts(Path(folder), parts_for(2 * deliveries))
        for number in range(deliveries):
            for row in rows_of_a_delivery(number):
                parts.add(row)
        parts.write()
        for number in range(parts.count):
            totals.add(snapshot, read_part(parts, number))
    assert compare(some_settings(), snapshot, totals) == []
    assert summary(snapshot, totals)["accepted"] == deliveries
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@pytest.mark.drill
@pytest.mark.timeout(3600)
def test_the_audit_of_ten_million_deliveries_takes_less_than_512_mb() -> None:
    code = "from tests.unit.admin.test_audit_memory import audit_of; print(audit_of(10_000_000))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < LIMIT_MB
