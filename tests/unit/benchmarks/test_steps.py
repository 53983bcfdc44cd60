"""Every step of a worker's own work is timed on the real code, and all of the load goes through it."""

import orjson
from click.testing import CliRunner

from devtools.benchmarks.commands import steps


def test_each_step_has_its_share_of_every_trigger() -> None:
    result = CliRunner().invoke(steps, ["--triggers", "1000", "--rounds", "1", "--json"])
    assert result.exit_code == 0, result.output
    found = orjson.loads(result.output)
    assert found["triggers"] == 1000 and found["outcomes"] == {"notified": 1000}
    assert len(found["steps"]) == 7 and all(spent > 0 for spent in found["steps"].values())
