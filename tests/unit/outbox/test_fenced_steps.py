"""A flush says by what it was decided, and the ledger refuses it once a later placement has been fenced."""

from datetime import UTC, datetime
from typing import Any

from notify_streams.outbox.flush_plan import plan_flush
from notify_streams.outbox.transaction import _step
from tests.builders import a_decided_batch, an_entry

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def decided_by(epoch: Any, start: Any = 0) -> Any:
    taken = a_decided_batch(an_entry(f"t-{start}"), start=start)
    taken.epoch = epoch
    return taken


def test_the_earliest_decision_of_a_source_counts() -> None:
    (step,) = plan_flush("f", "standard", [decided_by(5), decided_by(4, 1)], NOW).steps
    assert step.epoch == 4


def test_a_step_that_was_decided_by_a_placement_is_conditional_on_the_fence() -> None:
    (step,) = plan_flush("f", "standard", [decided_by(4)], NOW).steps
    assert _step(step, "f")["q"]["epoch"] == {"$not": {"$gt": 4}}


def test_sign_ups_know_no_fence() -> None:
    (step,) = plan_flush("f", "registry", [decided_by(None)], NOW).steps
    assert "epoch" not in _step(step, "f")["q"]
