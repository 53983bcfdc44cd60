"""Settings of how long records and documents are kept."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

#: At most a hundred years: a date can be so long ago.
_Hours = Annotated[float, msgspec.Meta(gt=0, le=876_000)]
_Seconds = Annotated[int, msgspec.Meta(gt=0, le=3_153_600_000)]
#: What the broker may wait before it closes a segment.
_MAX_SEGMENT: Final = timedelta(days=1)
_SEGMENTS: Final = 7
#: Clocks of routers, brokers and shards differ by less.
_CLOCKS: Final = timedelta(seconds=60)


class RetentionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How long topics and collections keep what they have. Ledgers and their sealed sums are kept without limit."""

    #: Records of every topic that is not compacted, but the control log.
    topics_h: _Hours = 168.0
    #: Notifications after the period in which they were counted, with their attempts.
    notifications_h: _Hours = 2160.0
    #: Length of the periods whose sums are sealed.
    period_s: _Seconds = 3600

    @property
    def topics(self) -> timedelta:
        return timedelta(hours=self.topics_h)

    @property
    def notifications(self) -> timedelta:
        return timedelta(hours=self.notifications_h)

    @property
    def period(self) -> timedelta:
        return timedelta(seconds=self.period_s)

    @property
    def segment(self) -> timedelta:
        """Kafka deletes whole segments: a topic keeps a record up to this time longer."""
        return min(_MAX_SEGMENT, self.topics / _SEGMENTS)

    @property
    def attempts(self) -> timedelta:
        """Attempts are deleted so long after the decision: later than their notification, which MongoDB deletes within minutes."""
        return self.notifications + max(3 * self.period, _CLOCKS)

    @property
    def clock_difference(self) -> timedelta:
        """Times of two clocks that differ by less are not compared; a tenth of the retention where that is short."""
        return min(_CLOCKS, self.topics / 10)

    def problems(self) -> Iterator[str]:
        """Relations that do not hold."""
        if self.notifications_h < self.topics_h:
            yield (
                "notifications_h must be at least topics_h: notifications and attempts must not expire before the messages "
                "that they prove"
            )
        if 2 * self.period > self.topics:
            yield (
                "period_s must be at most half of topics_h: a period must be sealed before anything of it can expire, "
                "which is the end of the period that follows at the latest"
            )
