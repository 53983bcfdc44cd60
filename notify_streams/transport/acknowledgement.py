"""Which offset may be committed: the end of the longest acknowledged prefix of what was delivered.

In: deliveries and acknowledgements of one partition, in any interleaving. Out: a position. No I/O, no clock.
"""

from __future__ import annotations

from collections import deque


class DeliveredRange:
    """One delivered range of a partition, acknowledged or not."""

    __slots__ = ("acked", "end", "size_bytes")

    def __init__(self, end: int, size_bytes: int = 0, acked: bool = False) -> None:
        self.end = end
        self.size_bytes = size_bytes
        self.acked = acked


class AckedPrefix:
    """Follows one partition from one assignment (or seek) to its end.

    `position` never passes a delivery that is not acknowledged, and always passes an acknowledged prefix. What is
    acknowledged after the partition was revoked or sought reaches an `AckedPrefix` that nobody reads any more.
    """

    __slots__ = ("_open", "delivered_to", "open_bytes", "position")

    def __init__(self, position: int) -> None:
        #: Everything below is done: safe to commit.
        self.position = position
        #: Everything below was delivered.
        self.delivered_to = position
        #: Of what was delivered from `position` on.
        self.open_bytes = 0
        self._open: deque[DeliveredRange] = deque()

    def deliver(self, end: int, size_bytes: int = 0) -> DeliveredRange:
        """Note that everything up to the position `end` was handed out.

        Raises:
            ValueError: `end` lies before what was delivered already.
        """
        if end < self.delivered_to:
            raise ValueError(f"delivered up to {self.delivered_to}, cannot deliver up to {end}")
        delivery = DeliveredRange(end, size_bytes)
        self._open.append(delivery)
        self.open_bytes += size_bytes
        self.delivered_to = end
        return delivery

    def skip(self, end: int) -> None:
        """Note that there is no record up to the position `end` (compacted away, aborted, or a marker)."""
        if end <= self.position:
            return
        self._open.append(DeliveredRange(end, acked=True))
        self._advance()

    def ack(self, delivery: DeliveredRange) -> bool:
        """Acknowledge one delivery; a second time changes nothing.

        Returns:
            Whether `position` moved.
        """
        delivery.acked = True
        return self._advance()

    @property
    def in_flight(self) -> int:
        """How many deliveries are not acknowledged."""
        return sum(not delivery.acked for delivery in self._open)

    @property
    def idle(self) -> bool:
        """Whether everything delivered is acknowledged."""
        return not self._open

    def _advance(self) -> bool:
        before = self.position
        while self._open and self._open[0].acked:
            done = self._open.popleft()
            self.open_bytes -= done.size_bytes
            self.position = max(self.position, done.end)
        return self.position > before
