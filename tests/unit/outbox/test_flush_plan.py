"""What one transaction writes is a pure function of its batches."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notify_streams.outbox.decided_batch import DecidedBatch, RecordOutcome
from notify_streams.outbox.flush_plan import COUNTED, POSITIONS, ROW_BYTES, Flush, drop_duplicates, plan_flush
from notify_streams.outbox.ledger import sums_close
from notify_streams.records.ids import ledger_id
from notify_streams.records.outcomes import DeadReason, TriggerOutcome
from notify_streams.routing.outcome_records import dead_letter, id_conflict, repartitioned
from tests.builders import NOON, ARecord, a_decided_batch, an_outcome

unpack = msgspec.msgpack.decode


def plan(*batches: DecidedBatch) -> Flush:
    return plan_flush("f", "standard", batches, NOON)


def a_dead_letter(
    offset: int = 0, value: bytes = b"bad", reason: DeadReason = DeadReason.NOT_JSON, headers: Sequence[Any] = ()
) -> RecordOutcome:
    return dead_letter(ARecord(value, headers=headers, offset=offset), "triggers.payments", 3, reason, "why")


def test_a_step_counts_the_outcome_of_each_position() -> None:
    entries = [
        an_outcome("a"),
        a_dead_letter(),
        a_dead_letter(reason=DeadReason.INVALID),
        repartitioned(ARecord(), "t", 3, 5, "u"),
    ]
    entries += [RecordOutcome(TriggerOutcome.DUPLICATE, ARecord()), RecordOutcome(TriggerOutcome.FORWARDED, ARecord())]
    (step,) = plan(a_decided_batch(*entries, start=10, other_lane=3, end=24)).steps
    assert (step.id, step.bucket, step.start, step.end) == ("standard:triggers.payments:3", 3, 10, 24)
    assert step.counts == {
        "queued.push": 1,
        "taken": 6,
        "other_lane": 3,
        "holes": 5,
        "lost": 0,
        "notified": 1,
        "dead": 2,
        "repartitioned": 1,
        "duplicate": 1,
        "waiting": 0,
        "forwarded": 1,
        "dead_reasons.not_json": 1,
        "dead_reasons.invalid": 1,
    }


def test_batches_of_one_partition_make_one_step() -> None:
    (step,) = plan(
        a_decided_batch(an_outcome("a"), start=5), a_decided_batch(an_outcome("b"), an_outcome("c"), start=6, end=9)
    ).steps
    assert (step.start, step.end, step.counts["notified"], step.counts["holes"]) == (5, 9, 3, 1)


def test_each_source_has_its_own_step() -> None:
    flush = plan(
        a_decided_batch(topic="triggers.a"),
        a_decided_batch(topic="triggers.b"),
        a_decided_batch(topic="triggers.a", partition=4),
    )
    assert [(step.id, step.bucket) for step in flush.steps] == [
        ("standard:triggers.a:3", 3),
        ("standard:triggers.b:3", 3),
        ("standard:triggers.a:4", 4),
    ]


def test_a_batch_of_the_other_lane_only_advances_the_ledger() -> None:
    flush = plan(a_decided_batch(other_lane=7, start=3))
    assert (flush.notifications, flush.rows) == ([], [])
    assert (flush.steps[0].start, flush.steps[0].end, flush.steps[0].counts["other_lane"]) == (3, 10, 7)


def test_records_for_one_partition_stay_in_order_across_batches() -> None:
    first = a_decided_batch(an_outcome("a"), an_outcome("b", channels=("sms", "push")))
    flush = plan(first, a_decided_batch(an_outcome("c"), start=2))
    ids = {row.topic: [msgspec.json.decode(value)["trigger_id"] for _, value, _ in row.records] for row in flush.rows}
    assert ids == {"push": ["a", "b", "c"], "sms": ["b"]}


def test_a_row_has_the_records_to_publish() -> None:
    record = ARecord(b"\xff", key=b"\x00", headers=(("x", None), ("y", b"\xff")), offset=4)
    flush = plan(a_decided_batch(dead_letter(record, "triggers.payments", 3, DeadReason.NOT_JSON, "why")))
    (row,) = flush.rows
    assert (row.topic, row.partition) == ("dead_letters", 3)
    assert {name: row.document[name] for name in ("bucket", "topic", "partition", "count")} == {
        "bucket": 3,
        "topic": "dead_letters",
        "partition": 3,
        "count": 1,
    }
    ((key, value, headers),) = unpack(row.document["records"])
    assert (key, value, headers[:2]) == (b"\x00", b"\xff", [["x", None], ["y", b"\xff"]])


def test_row_ids_of_one_flush_sort_in_order() -> None:
    many = [repartitioned(ARecord(b"x"), f"t{number:03}", 3, 3, "u") for number in range(150)]
    rows = [row.document["_id"] for row in plan(a_decided_batch(*many)).rows]
    assert rows == sorted(rows) and len(set(rows)) == 150


HEAVY = [
    pytest.param({"value": b"x" * 1_000_000}, id="values"),
    pytest.param({"value": b"", "headers": (("h", b"x" * 1_000_000),)}, id="headers"),
    pytest.param({"value": b"", "headers": (("h" * 50, b""),) * 20_000}, id="very many headers"),
]


@pytest.mark.parametrize("record", HEAVY)
def test_rows_stay_within_their_size_limit(record: dict[str, Any]) -> None:
    """MongoDB would refuse every retry of a transaction with a document over 16 MB."""
    flush = plan(a_decided_batch(*[a_dead_letter(offset, **record) for offset in range(30)]))
    assert len(flush.rows) > 1
    assert max(len(row.document["records"]) for row in flush.rows) <= ROW_BYTES
    assert sum(row.document["count"] for row in flush.rows) == 30


def test_keys_count_towards_the_size_limit() -> None:
    entries = [dead_letter(ARecord(b"", b"k" * 1_000_000), "t", 3, DeadReason.INVALID, "") for _ in range(20)]
    assert max(len(row.document["records"]) for row in plan(a_decided_batch(*entries)).rows) <= ROW_BYTES


@settings(max_examples=25)
@given(sizes=st.lists(st.sampled_from([0, 10, 300_000, 1_000_000, ROW_BYTES // 2, ROW_BYTES - 2_000]), max_size=12))
def test_rows_lose_and_double_nothing_and_stay_small(sizes: list[int]) -> None:
    entries = [repartitioned(ARecord(bytes([place]) * size), "t", 3, 3, "u") for place, size in enumerate(sizes)]
    rows = plan(a_decided_batch(*entries)).rows
    published = [value for row in rows for _, value, _ in unpack(row.document["records"])]
    assert [len(value) for value in published] == sizes
    assert all(len(row.document["records"]) <= ROW_BYTES for row in rows)


outcome_kinds = st.sampled_from(["notified", "dead", "moved", "duplicate", "forwarded"])


def outcome_of_kind(kind: str, trigger_id: str, bucket: int) -> RecordOutcome:
    match kind:
        case "notified":
            return an_outcome(trigger_id, bucket=bucket)
        case "dead":
            return a_dead_letter()
        case "moved":
            return repartitioned(ARecord(b"x"), "t", 0, 1, "u")
    return RecordOutcome(TriggerOutcome(kind), ARecord())


@st.composite
def histories(draw: st.DrawFn) -> list[DecidedBatch]:
    """Batches of several sources, without gaps in any source."""
    positions = Counter[tuple[str, int]]()
    batches = []
    for number in range(draw(st.integers(1, 8))):
        source = draw(st.sampled_from(["triggers.a", "triggers.b"])), draw(st.integers(0, 2))
        kinds = draw(st.lists(outcome_kinds, max_size=5))
        entries = [outcome_of_kind(kind, f"{number}-{draw(st.integers(0, 2))}", source[1]) for kind in kinds]
        other_lane, holes, lost = (draw(st.integers(0, 3)) for _ in range(3))
        start = positions[source]
        positions[source] = end = start + len(entries) + other_lane + holes + lost
        batch = a_decided_batch(
            *entries, start=start, end=end, other_lane=other_lane, topic=source[0], partition=source[1], lost=lost
        )
        assert batch.holes == holes
        batches.append(batch)
    return batches


@given(batches=histories())
def test_the_counts_of_every_step_add_up(batches: list[DecidedBatch]) -> None:
    drop_duplicates(batches, {}, id_conflict)
    flush = plan(*batches)
    for step in flush.steps:
        ledger = {"first_offset": step.start, "next_offset": step.end, **step.counts}
        assert sums_close(ledger)
        reasons = sum(count for name, count in step.counts.items() if name.startswith("dead_reasons."))
        assert reasons == step.counts["dead"]
    assert {row.bucket for row in flush.rows} <= {batch.partition for batch in batches}
    ids = [document["_id"] for document in flush.notifications]
    assert len(set(ids)) == len(ids) == sum(step.counts["notified"] for step in flush.steps)


@pytest.mark.parametrize(
    "changed", ["next_offset", *POSITIONS, *COUNTED.values()], ids=lambda name: f"{name} off by one"
)
def test_counts_that_do_not_add_up_are_detected(changed: str) -> None:
    (step,) = plan(a_decided_batch(an_outcome(), a_dead_letter(), start=5, end=10, other_lane=1)).steps
    ledger = {"first_offset": 5, "next_offset": 10, **step.counts}
    assert sums_close(ledger)
    assert not sums_close(ledger | {changed: ledger[changed] + 1})


def test_a_repeated_id_within_a_flush_is_a_duplicate() -> None:
    batches = [
        a_decided_batch(an_outcome("a"), an_outcome("a")),
        a_decided_batch(an_outcome("a"), topic="triggers.security"),
    ]
    drop_duplicates(batches, {}, id_conflict)
    found = [entry.outcome.value for batch in batches for entry in batch.entries]
    assert found == ["notified", "duplicate", "duplicate"]
    assert not batches[0].entries[1].outputs


def test_the_same_id_with_other_content_is_a_dead_letter() -> None:
    batches = [a_decided_batch(an_outcome("a", offset=1), an_outcome("a", offset=2, title="other"))]
    drop_duplicates(batches, {}, id_conflict)
    first, second = batches[0].entries
    assert first.outcome is TriggerOutcome.NOTIFIED
    assert (second.outcome, second.reason, second.record.offset) == (TriggerOutcome.DEAD, "id_conflict", 2)


def test_the_same_id_for_another_user_is_another_notification() -> None:
    batches = [a_decided_batch(an_outcome("a", user_id="u"), an_outcome("a", user_id="v"))]
    drop_duplicates(batches, {}, id_conflict)
    assert [entry.outcome.value for entry in batches[0].entries] == ["notified", "notified"]


def test_a_known_notification_is_a_duplicate_or_a_conflict() -> None:
    same, other = an_outcome("a"), an_outcome("b")
    known = {str(same.notification): same.fingerprint, str(other.notification): other.fingerprint + 1}
    batches = [a_decided_batch(same, other, an_outcome("c"))]
    drop_duplicates(batches, known, id_conflict)
    assert [entry.outcome.value for entry in batches[0].entries] == ["duplicate", "dead", "notified"]


def test_dropping_duplicates_is_idempotent() -> None:
    batches = [a_decided_batch(an_outcome("a"), an_outcome("a"), an_outcome("a", title="other"), an_outcome("b"))]
    drop_duplicates(batches, {}, id_conflict)
    before = [entry.outcome for entry in batches[0].entries]
    drop_duplicates(batches, {}, id_conflict)
    assert [entry.outcome for entry in batches[0].entries] == before


def test_a_conflict_is_published_with_the_rest_of_its_flush() -> None:
    batches = [a_decided_batch(an_outcome("a"), an_outcome("a", title="other"))]
    drop_duplicates(batches, {}, id_conflict)
    assert {row.topic for row in plan(*batches).rows} == {"push", "dead_letters"}


def test_a_batch_has_its_size_and_holes() -> None:
    batch = a_decided_batch(an_outcome(channels=("push", "sms")), start=5, end=9, other_lane=1)
    assert batch.holes == 2
    assert batch.size_bytes == sum(len(output[3]) for output in batch.entries[0].outputs) > 200


def test_a_ledger_id_has_role_topic_and_partition() -> None:
    assert ledger_id("critical", "triggers.payments", 3) == "critical:triggers.payments:3"
    assert a_decided_batch().source == ("triggers.payments", 3)
