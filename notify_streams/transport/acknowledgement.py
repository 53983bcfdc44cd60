"""Computes which offset may be committed from acknowledgements in any order."""

from __future__ import annotations

from collections import deque


class DeliveredRange:
    """Positions of one partition that an agent got as one batch; `end` is exclusive."""

    __slots__ = ("acked", "end", "size_bytes")

    def __init__(self, end: int, size_bytes: int = 0, acked: bool = False) -> None:
        self.end = end
        self.size_bytes = size_bytes
        self.acked = acked


class AckedPrefix:
    """The acknowledged prefix of one partition, from an assignment or seek to the next.

    A revocation or a seek replaces the `AckedPrefix`. Acknowledgements of older batches change only the old one, which is no longer read.
    """

    __slots__ = ("_unacked", "delivered_to", "position", "unacked_bytes")

    def __init__(self, position: int) -> None:
        #: Everything below is acknowledged and may be committed.
        self.position = position
        #: Everything below was delivered.
        self.delivered_to = position
        #: Size of what was delivered from `position` on.
        self.unacked_bytes = 0
        self._unacked: deque[DeliveredRange] = deque()

    def deliver(self, end: int, size_bytes: int = 0) -> DeliveredRange:
        """Record that everything below the position `end` was delivered.

        Raises:
            ValueError: `end` is below what was delivered before.
        """
        if end < self.delivered_to:
            raise ValueError(f"delivered up to {self.delivered_to}, cannot deliver up to {end}")
        delivered = DeliveredRange(end, size_bytes)
        self._unacked.append(delivered)
        self.unacked_bytes += size_bytes
        self.delivered_to = end
        return delivered

    def skip(self, end: int) -> None:
        """Record that there is no record below the position `end`: compacted, aborted, or a transaction marker."""
        if end > self.position:
            self._unacked.append(DeliveredRange(end, acked=True))
            self._advance()

    def ack(self, delivered: DeliveredRange) -> bool:
        """Acknowledge one range; repeating it changes nothing.

        Returns:
            Whether `position` moved.
        """
        delivered.acked = True
        return self._advance()

    @property
    def all_acked(self) -> bool:
        """Whether everything delivered is acknowledged."""
        return not self._unacked

    def _advance(self) -> bool:
        before = self.position
        while self._unacked and self._unacked[0].acked:
            done = self._unacked.popleft()
            self.unacked_bytes -= done.size_bytes
            self.position = max(self.position, done.end)
        return self.position > before
