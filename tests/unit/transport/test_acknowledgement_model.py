"""Any interleaving of fetches, takes, acks, commits, seeks, revocations and restarts, against a model.

The model knows only which records were acknowledged in the life of an assignment. It never lets a commit pass a
record that is not acknowledged, and demands that an acknowledged prefix is committed.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from notify_streams.transport.partition_buffer import AppendResult, Bounds, PartitionBuffer
from tests.unit.transport.transport_builders import a_fetched_range


class Acknowledgements(RuleBasedStateMachine):
    """One partition of Kafka, the workers that have it one after the other, and what each record went through."""

    def __init__(self) -> None:
        super().__init__()
        self.committed: int | None = None
        self.done: set[int] = set()
        self.holes: frozenset[int] = frozenset()
        self.end = 0
        self.flying: list[tuple] = []

    @initialize(holes=st.frozensets(st.integers(0, 60), max_size=20), start=st.integers(0, 5), bound=st.integers(1, 12))
    def assign(self, holes: frozenset[int], start: int, bound: int) -> None:
        self.holes = holes
        self.start = self.end = start
        self.bound = bound
        self._open(start)

    def _open(self, position: int) -> None:
        self.buffer = PartitionBuffer("t", 0, position, self.committed, Bounds(self.bound, 10_000))
        self.fetched_to = position
        self.life = object()

    @rule(count=st.integers(1, 15))
    def produce(self, count: int) -> None:
        self.end += count

    @rule(count=st.integers(1, 8))
    def produce_and_deliver(self, count: int) -> None:
        """What the rules below do one by one, so that several batches are in flight often."""
        self.produce(count)
        self.fetch(count)
        self.take()

    @precondition(lambda self: self.fetched_to < self.end and not self.buffer.full)
    @rule(most=st.integers(1, 20))
    def fetch(self, most: int) -> None:
        to = min(self.end, self.fetched_to + most)
        if self.fetched_to < to:
            assert self.buffer.append(a_fetched_range(self.fetched_to, to, holes=self.holes)) is AppendResult.APPENDED
            self.fetched_to = to

    @rule(back=st.integers(0, 10), most=st.integers(1, 10))
    def fetch_stale(self, back: int, most: int) -> None:
        start = max(self.start, self.buffer.expected - back)
        to = min(start + most, self.end)
        if start < to and self.buffer.append(a_fetched_range(start, to, holes=self.holes)) is AppendResult.APPENDED:
            self.fetched_to = max(self.fetched_to, to)

    @precondition(lambda self: self.buffer.has_waiting)
    @rule()
    def take(self) -> None:
        before = self.buffer.prefix.delivered_to
        batch, delivery = self.buffer.next_batch()
        assert batch.start == before
        assert len(batch) <= self.bound
        expected = [offset for offset in range(batch.start, batch.end) if offset not in self.holes]
        assert [record.offset for record in batch.records] == expected
        if delivery is not None:
            self.flying.append((self.life, self.buffer.prefix, batch, delivery))

    @precondition(lambda self: self.flying)
    @rule(which=st.integers(0, 50))
    def ack(self, which: int) -> None:
        """Also of a batch whose partition was revoked or sought since: its records may come again all the same."""
        _, prefix, batch, delivery = self.flying.pop(which % len(self.flying))
        before = self.buffer.prefix.position
        prefix.ack(delivery)
        self.done.update(record.offset for record in batch.records)
        assert prefix is self.buffer.prefix or self.buffer.prefix.position == before

    @rule(answered=st.booleans())
    def commit(self, answered: bool) -> None:
        wanted = self.buffer.to_commit()
        if wanted is not None:
            # Backwards only where a commit's answer was lost and the batch was then refused: read twice, lost never.
            assert self.buffer.committed is None or wanted > self.buffer.committed
            self._never_past_unacknowledged(wanted)
            self.committed = wanted
            if answered:
                self.buffer.committed = wanted

    @rule(back=st.integers(0, 20))
    def refuse(self, back: int) -> None:
        position = max(self.start, self.buffer.prefix.position - back)
        self.buffer.restart(position)
        self.fetched_to = position
        self.life = object()

    @rule()
    def revoke_and_assign_again(self) -> None:
        """Also what a crash and a restart are: only the committed offset survives."""
        self._open(self.committed if self.committed is not None else self.start)

    def _never_past_unacknowledged(self, position: int) -> None:
        for offset in range(self.start, position):
            assert offset in self.holes or offset in self.done, f"{offset} is not acknowledged"

    @invariant()
    def the_position_is_the_acknowledged_prefix(self) -> None:
        if not hasattr(self, "buffer"):
            return
        self._never_past_unacknowledged(self.buffer.prefix.position)
        mine = [entry for entry in self.flying if entry[0] is self.life]
        head = min((batch.start for *_, batch, _ in mine), default=self.buffer.prefix.delivered_to)
        assert self.buffer.prefix.position >= head, "an acknowledged prefix is not committed"


Acknowledgements.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestAcknowledgements = Acknowledgements.TestCase
