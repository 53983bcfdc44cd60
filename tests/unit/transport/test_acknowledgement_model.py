"""Model test: fetches, acknowledgements, commits, seeks, revocations and restarts in any order.

The model knows which records were acknowledged since the partition was assigned. A commit must never pass a record that was not, and must
reach the end of the acknowledged prefix.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from notify_streams.transport.acknowledgement import AckedPrefix, DeliveredRange
from notify_streams.transport.partition_buffer import AppendResult, PartitionBuffer
from notify_streams.transport.record_batch import RecordBatch
from tests.unit.transport.transport_builders import a_buffer, a_fetched_range


class Acknowledgements(RuleBasedStateMachine):
    """One partition of Kafka, the workers that have it one after the other, and the state of each record."""

    def __init__(self) -> None:
        super().__init__()
        self.committed: int | None = None
        self.acked: set[int] = set()
        self.holes: frozenset[int] = frozenset()
        self.end = 0
        self.in_flight: list[tuple[AckedPrefix, RecordBatch, DeliveredRange]] = []
        self.buffer: PartitionBuffer | None = None

    @property
    def open_buffer(self) -> PartitionBuffer:
        assert self.buffer is not None
        return self.buffer

    @initialize(holes=st.frozensets(st.integers(0, 60), max_size=20), start=st.integers(0, 5), bound=st.integers(1, 12))
    def assign(self, holes: frozenset[int], start: int, bound: int) -> None:
        self.holes = holes
        self.start = self.end = start
        self.bound = bound
        self._open(start)

    def _open(self, position: int) -> None:
        self.buffer = a_buffer(position, self.committed, self.bound, 10_000)
        self.fetched_to = position

    @rule(count=st.integers(1, 15))
    def produce(self, count: int) -> None:
        self.end += count

    @rule(count=st.integers(1, 8))
    def produce_and_deliver(self, count: int) -> None:
        """The next rules in one, so that several batches are often in flight."""
        self.produce(count)
        self.fetch(count)
        self.deliver()

    @precondition(lambda self: self.fetched_to < self.end and not self.open_buffer.full)
    @rule(most=st.integers(1, 20))
    def fetch(self, most: int) -> None:
        to = min(self.end, self.fetched_to + most)
        if self.fetched_to < to:
            fetched = a_fetched_range(self.fetched_to, to, holes=self.holes)
            assert self.open_buffer.append(fetched) is AppendResult.APPENDED
            self.fetched_to = to

    @rule(back=st.integers(0, 10), most=st.integers(1, 10))
    def fetch_stale(self, back: int, most: int) -> None:
        start = max(self.start, self.open_buffer.next_position - back)
        to = min(start + most, self.end)
        if start < to:
            fetched = a_fetched_range(start, to, holes=self.holes)
            if self.open_buffer.append(fetched) is AppendResult.APPENDED:
                self.fetched_to = max(self.fetched_to, to)

    @precondition(lambda self: self.open_buffer.has_records)
    @rule()
    def deliver(self) -> None:
        prefix = self.open_buffer.prefix
        before = prefix.delivered_to
        batch, delivered = self.open_buffer.next_batch()
        assert batch.start == before
        assert len(batch) <= self.bound
        expected = [offset for offset in range(batch.start, batch.end) if offset not in self.holes]
        assert [record.offset for record in batch.records] == expected
        if delivered is not None:
            self.in_flight.append((prefix, batch, delivered))

    @precondition(lambda self: self.in_flight)
    @rule(which=st.integers(0, 50))
    def ack(self, which: int) -> None:
        """Also a batch whose partition was revoked or sought since: its records may be delivered again."""
        prefix, batch, delivered = self.in_flight.pop(which % len(self.in_flight))
        before = self.open_buffer.prefix.position
        prefix.ack(delivered)
        self.acked.update(record.offset for record in batch.records)
        assert prefix is self.open_buffer.prefix or self.open_buffer.prefix.position == before

    @rule(confirmed=st.booleans())
    def commit(self, confirmed: bool) -> None:
        offset = self.open_buffer.offset_to_commit()
        if offset is not None:
            # Backwards only where the response to a commit was lost and the batch was then refused: read twice, never lost.
            assert self.open_buffer.committed is None or offset > self.open_buffer.committed
            self._never_past_unacknowledged(offset)
            self.committed = offset
            if confirmed:
                self.open_buffer.committed = offset

    @rule(back=st.integers(0, 20))
    def refuse(self, back: int) -> None:
        position = max(self.start, self.open_buffer.prefix.position - back)
        self.open_buffer.restart(position)
        self.fetched_to = position

    @rule()
    def revoke_and_assign_again(self) -> None:
        """The same as a crash and a restart: only the committed offset survives."""
        self._open(self.committed if self.committed is not None else self.start)

    def _never_past_unacknowledged(self, position: int) -> None:
        for offset in range(self.start, position):
            assert offset in self.holes or offset in self.acked, f"{offset} is not acknowledged"

    @invariant()
    def the_position_is_the_acknowledged_prefix(self) -> None:
        if self.buffer is None:
            return
        prefix = self.buffer.prefix
        self._never_past_unacknowledged(prefix.position)
        starts = (batch.start for found, batch, _ in self.in_flight if found is prefix)
        assert prefix.position >= min(starts, default=prefix.delivered_to), "an acknowledged prefix is not committed"


Acknowledgements.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestAcknowledgements = Acknowledgements.TestCase
