"""Every step of a worker's own work is timed on the real code, and all of the load goes through it."""

from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from devtools.benchmarks.router import steps
from notify_streams.routing.router import Router


def test_each_step_has_its_share_of_every_trigger(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    take = Router.decide_batch

    async def counted(router: Any, batch: Any, delivered: Any) -> Any:
        taken = await take(router, batch, delivered)
        seen.append(len(taken.entries))
        assert {entry.outcome.value for entry in taken.entries} == {"notified"}
        return taken

    monkeypatch.setattr(Router, "decide_batch", counted)
    answer = CliRunner().invoke(steps.steps, ["--triggers", "1000", "--rounds", "1", "--json"])
    assert answer.exit_code == 0, answer.output
    found = orjson.loads(answer.output)
    assert sum(seen) == found["triggers"] == 1000
    assert len(found["steps"]) == 7 and all(spent > 0 for spent in found["steps"].values())
