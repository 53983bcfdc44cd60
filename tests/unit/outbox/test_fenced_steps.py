"""A ledger step depends on the fence under whose epoch it was decided."""

from datetime import UTC, datetime

from notify_streams.outbox.decided_batch import DecidedBatch
from notify_streams.outbox.flush_plan import plan_flush
from notify_streams.outbox.transaction import ledger_update
from tests.builders import a_decided_batch, an_outcome

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def decided_under(epoch: int | None, start: int = 0) -> DecidedBatch:
    batch = a_decided_batch(an_outcome(f"t-{start}"), start=start)
    batch.epoch = epoch
    return batch


def test_a_step_has_the_earliest_epoch_of_its_batches() -> None:
    (step,) = plan_flush("f", "standard", [decided_under(5), decided_under(4, 1)], NOW).steps
    assert step.epoch == 4


def test_a_step_with_an_epoch_depends_on_the_fence() -> None:
    (step,) = plan_flush("f", "standard", [decided_under(4)], NOW).steps
    assert ledger_update(step, "f")["q"]["epoch"] == {"$not": {"$gt": 4}}


def test_a_step_without_an_epoch_does_not() -> None:
    (step,) = plan_flush("f", "registry", [decided_under(None)], NOW).steps
    assert "epoch" not in ledger_update(step, "f")["q"]
