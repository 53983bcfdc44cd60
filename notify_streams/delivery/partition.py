"""The state of one owned partition of a channel topic. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from notify_streams.delivery.delivery_ledger import FIRST

if TYPE_CHECKING:
    from notify_streams.delivery.delivery_ledger import OwnedLedger, Token
    from notify_streams.delivery.delivery_spans import DeliveryTrace
    from notify_streams.records.batch import AckHandle
    from notify_streams.records.channel_message import ChannelMessage
    from notify_streams.records.outcomes import DeliveryState

#: The fewest offsets that are claimed ahead.
MIN_AHEAD: Final = 64


class Entry(msgspec.Struct, eq=False, gc=False):
    """One record of the topic. It can be counted when `counted` is set."""

    offset: int
    source_topic: str = ""
    source_offset: int = -1
    #: Identifies the delivery; empty for a foreign record.
    key: bytes = b""
    #: The ledger's fields that it is counted in.
    counted: tuple[str, ...] | None = None

    def count_first(self, state: DeliveryState) -> None:
        """Its first attempt led to `state`."""
        self.counted = ("fresh", FIRST[state])


@dataclass(slots=True, eq=False)
class Delivery:
    """One attempt that is to be made, or is under way."""

    partition: Partition
    key: bytes
    message: ChannelMessage
    #: The message for the next attempt: as it was published, or without the devices that need none.
    record: bytes
    #: None: the attempt comes from a timer.
    entry: Entry | None
    #: The number of this attempt; 1 is the first.
    number: int = 1
    #: An earlier call with an unknown result may have been accepted.
    in_doubt: bool = False
    #: A call that begins later needs another check (monotonic).
    check_until: float = 0.0
    #: The provider of the last call, or of that under way.
    provider: str | None = None
    #: When the call began (monotonic).
    began: float = 0.0
    #: The same of the first call of this attempt: some are repeated because the provider was not ready (`ProviderResult`).
    first_began: float = 0.0
    #: When the mail server had taken everything but the content (monotonic); 0: it has not, or this is no mail.
    content_began: float = 0.0
    #: The call had no answer in time: it was settled as retrying.
    parked: bool = False
    #: The call was counted as a failure of the provider.
    is_late: bool = False
    #: The attempt is durable.
    is_settled: bool = False
    #: See `Attempt`; set when the message is rendered.
    template_version: str | None = None
    #: None: its trigger is not traced.
    trace: DeliveryTrace | None = None
    #: Of a message from the topic: when Kafka took it, milliseconds since the epoch.
    published_ms: int | None = None
    #: See `Attempt`.
    replay: bool = False

    @property
    def traceparent(self) -> str | None:
        """For the stored attempt; None: it is not traced."""
        return None if self.trace is None else self.trace.traceparent


class PartitionReader(Protocol):
    """Of a partition's topic (`transport.BatchEvent.reader`)."""

    def refuse(self, position: int) -> object:
        """Read again from `position`. Without effect if the partition was revoked or sought meanwhile."""
        ...


@dataclass(slots=True, eq=False)
class _Batch:
    end: int
    entries: Sequence[Entry]
    ack_handle: AckHandle
    #: Positions that Kafka deleted and that are not counted yet.
    lost: int
    #: Entries that are counted.
    passed: int = 0


@dataclass(slots=True)
class Advance:
    """The next step of a ledger, and what to acknowledge when it is durable."""

    start: int
    end: int
    counts: dict[str, int] = field(default_factory=dict)
    acks: list[AckHandle] = field(default_factory=list)
    #: Entries that it counts.
    passed: list[Entry] = field(default_factory=list)


class Partition:
    """One assignment of one partition."""

    def __init__(self, ledger: OwnedLedger, token: Token, shard: int, proved_at: float) -> None:
        self.number = ledger.partition
        self.token = token
        self.shard = shard
        #: When the last read or write began that proved the token (monotonic).
        self.proved_at = proved_at
        #: The ledger, as this worker has written or planned it.
        self.next_offset = ledger.next_offset
        self.last_flush = ledger.last_flush
        self.claimed_to = ledger.claimed_to
        self.seen = dict(ledger.seen)
        #: Calls of an earlier owner may have begun below this offset.
        self.looked_up_to = ledger.claimed_to
        #: The highest offset that this worker has wanted to claim.
        self.wanted_to = ledger.claimed_to
        self._restored = ledger.restored
        #: Trigger topic → highest position of which a message was read.
        self._read = dict(ledger.seen)
        #: Deliveries that were read and are not counted yet.
        self._open: dict[bytes, Entry] = {}
        self._batches: deque[_Batch] = deque()
        #: False after the partition was revoked, or its token was replaced: no call begins any more.
        self.active = True
        #: Reads its topic; None until the first batch.
        self.reader: PartitionReader | None = None
        #: The ledger refused this token. Outcomes are stored, and not counted.
        self.fenced = False
        #: Its writes are refused, those of its shard's other partitions may not be: no call begins and no timer is claimed until they are not.
        self.blocked = False

    @property
    def read_to(self) -> int:
        """The position at which the next batch must start."""
        return self._batches[-1].end if self._batches else self.next_offset

    def add(self, end: int, lost: int, entries: Sequence[Entry], ack_handle: AckHandle) -> None:
        """Add the entries of a batch with the positions [`read_to`, `end`)."""
        self._batches.append(_Batch(end, entries, ack_handle, lost))

    def place(self, entry: Entry, source_topic: str, source_offset: int) -> bool:
        """Set the place of the entry's trigger. False: the message is left out, because its trigger is decided again (`Restored`)."""
        restored = self._restored
        if restored is not None and entry.offset < restored.end:
            if restored.is_superseded(entry.offset, source_topic, source_offset):
                return False
            if restored.is_new:
                return True  # its trigger's offset is one of another Kafka
        entry.source_topic, entry.source_offset = source_topic, source_offset
        return True

    def is_in_doubt(self, entry: Entry) -> bool:
        """Whether a call may have begun for a delivery without an attempt."""
        if entry.offset < self.looked_up_to:
            return True
        restored = self._restored
        return restored is not None and restored.may_have_been_sent(entry.source_topic, entry.source_offset)

    def is_new(self, entry: Entry) -> bool:
        """Whether no message of this delivery was read before, without looking it up. Call it once an entry, in order."""
        if entry.source_offset < 0:
            return False
        before = self._read.get(entry.source_topic, -1)
        if entry.source_offset <= before:
            return False
        self._read[entry.source_topic] = entry.source_offset
        return not self.is_in_doubt(entry)

    def open(self, entry: Entry) -> bool:
        """Begin to work on a delivery; False if another entry of the same delivery is being worked on."""
        if entry.key in self._open:
            return False
        self._open[entry.key] = entry
        return True

    def was_counted(self, entry: Entry) -> bool:
        """Whether a message of the same trigger was counted before this assignment."""
        return entry.source_offset <= self.seen.get(entry.source_topic, -1)

    def advance(self) -> Advance:
        """Count what is settled, in order, and move `next_offset`. The caller makes it durable, or gives the partition up."""
        step = Advance(self.next_offset, self.next_offset)
        counts = step.counts
        while self._batches:
            batch = self._batches[0]
            taken = 0
            while batch.passed < len(batch.entries) and (counted := batch.entries[batch.passed].counted) is not None:
                entry = batch.entries[batch.passed]
                batch.passed += 1
                taken += 1
                for name in counted:
                    counts[name] = counts.get(name, 0) + 1
                if entry.source_offset > self.seen.get(entry.source_topic, -1):
                    self.seen[entry.source_topic] = entry.source_offset
                step.passed.append(entry)
            is_done = batch.passed == len(batch.entries)
            end = batch.end if is_done else batch.entries[batch.passed].offset
            gap = end - step.end - taken
            lost = min(gap, batch.lost)
            batch.lost -= lost
            for name, count in (("taken", taken), ("lost", lost), ("holes", gap - lost)):
                if count:
                    counts[name] = counts.get(name, 0) + count
            step.end = end
            if not is_done:
                break
            step.acks.append(batch.ack_handle)
            self._batches.popleft()
        self.next_offset = step.end
        return step

    def committed(self, step: Advance) -> None:
        """The step is durable: another message of these deliveries will find their attempts. Not before, whatever the store takes."""
        for entry in step.passed:
            if entry.key and self._open.get(entry.key) is entry:
                del self._open[entry.key]

    def next_claim(self, ahead: int) -> int:
        """The value of `claimed_to` for the next step: `ahead` beyond what this worker has begun or wants to begin.

        One that begins nothing more gives the rest back, so that the next owner does not take those deliveries for called ones.
        """
        wanted_to = max(self.wanted_to, self.next_offset)
        return max(self.claimed_to, wanted_to + max(ahead, MIN_AHEAD)) if self.active else wanted_to
