"""The story as data: what `why --json` and `/notifications/` show.

None stands for what is not known: a record of an earlier release has no offset and no durations.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from notify_streams.records.outcomes import DeliveryState, TriggerOutcome

#: Of deliveries that have not ended.
_OPEN: Final = frozenset((DeliveryState.QUEUED.value, DeliveryState.RETRYING.value, DeliveryState.DEFERRED.value))


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Where a trigger lay in Kafka when it was decided."""

    topic: str
    partition: int
    offset: int | None = None
    #: Kafka's time of the record
    at: datetime | None = None
    #: of a copy: the record that it was made of, `topic:partition:offset`, in the region that made it
    copied_from: str | None = None
    #: why it was copied: `forwarded`, `repartitioned`, `waited` (its user was not known yet)
    copied_because: str | None = None
    #: of a copy: when the first record entered, by Kafka's time
    origin_at: datetime | None = None
    #: of a forwarded trigger: how often it went from region to region, and where it entered
    hops: int = 0
    origin_region: str | None = None
    #: the dead letter that it was sent again from, `partition:offset`
    replayed_from: str | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt, the answer to a call that had none in time, or a receipt."""

    #: `call`, `answer`, `receipt`
    kind: str
    #: 0: a receipt that does not name its call
    number: int
    state: str
    reason: str | None = None
    provider: str | None = None
    provider_id: str | None = None
    #: the provider's status or code
    code: str | None = None
    #: the address that was called, masked: `+1•••42`, `a•••@example.org`; of a token the beginning of its hash
    to: str | None = None
    at: datetime
    #: None: no call was made, or not known
    took_ms: int | None = None
    #: of the first one: since Kafka took the message
    since_published_ms: int | None = None
    segments: int | None = None
    template_version: str | None = None
    #: the person may have the message already, so the call was marked as a possible duplicate
    possible_duplicate: bool = False
    #: the result of this or an earlier call is not known
    in_doubt: bool = False
    #: an operator, or a receipt that says failed, asked for it
    replay: bool = False
    #: `DeviceOutcome` of each device that was called; None: a single address
    devices: list[dict[str, Any]] | None = None


class NextAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """A timer."""

    number: int
    due_at: datetime
    #: a worker makes the attempt now
    under_way: bool = False
    #: the worker that had begun it does not own the bucket any more: the next owner repeats it, marked as a possible duplicate
    may_have_begun: bool = False
    replay: bool = False


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A notification by one channel."""

    delivery_id: str
    channel: str
    state: str
    reason: str | None = None
    #: the rule that allowed or suppressed it, in a sentence
    why: str
    #: when Kafka took the channel message
    published_at: datetime | None = None
    #: since when its message waits in the outbox; None: it does not
    in_outbox_since: datetime | None = None
    next_attempt: NextAttempt | None = None
    history: list[Attempt] = []


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """A trigger that was notified."""

    region: str
    notification_id: str
    trigger_id: str
    system: str
    source: str = ""
    user_id: str
    category: str
    lane: str
    entry: Entry
    decided_at: datetime
    preference_version: int
    deliveries: list[Delivery]


class OtherOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """A trigger record that became no notification in this region."""

    region: str
    #: `dead`, `forwarded`, `duplicate`
    outcome: str
    trigger_id: str
    user_id: str
    system: str | None = None
    entry: Entry
    at: datetime
    #: of a dead letter
    reason: str | None = None
    detail: str | None = None
    #: of a dead letter: `partition:offset` in `dead_letters`; None: Kafka has it no more, or was not asked
    place: str | None = None
    #: of a dead letter: what came later, a sentence each
    later: list[str] = []
    #: the region that it was forwarded to
    to_region: str | None = None


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A trigger whose user is not known yet."""

    region: str
    topic: str
    partition: int
    due_at: datetime


class RegionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a region answered."""

    region: str
    #: what is missing, and why; empty: it answered in full
    problems: list[str] = []


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known; newest first."""

    asked: str
    #: `trigger`, `person`, `provider_message`
    by: str
    at: datetime
    took_ms: int
    notifications: list[Notification]
    dead_letters: list[OtherOutcome]
    #: forwarded and duplicate
    others: list[OtherOutcome]
    waiting: list[Waiting]
    regions: list[RegionAnswer]
    #: there are more than are shown
    more: bool = False

    @property
    def is_empty(self) -> bool:
        """Nothing is known."""
        return not (self.notifications or self.dead_letters or self.others or self.waiting)

    @property
    def is_open(self) -> bool:
        """Whether something may still happen to it: it was not read yet, waits, was forwarded, or a delivery has not ended."""
        deliveries = (delivery for one in self.notifications for delivery in one.deliveries)
        return (
            self.is_empty
            or bool(self.waiting)
            or any(one.outcome == TriggerOutcome.FORWARDED for one in self.others)
            or any(one.state in _OPEN for one in deliveries)
        )

    @property
    def is_complete(self) -> bool:
        """Every region answered in full."""
        return not any(one.problems for one in self.regions)
