"""The notification events of decisions: suppressed deliveries, dead letters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from notify_streams.records.notification_event import DEAD, NotificationEvent, delivery_event, encode_event
from notify_streams.records.origin import SOURCE_HEADER
from notify_streams.records.outcomes import DeadReason, DeliveryState
from notify_streams.records.trigger import Trigger, read_trigger
from notify_streams.regions.forwarding.headers import read_forwarding_headers
from notify_streams.topics import FORWARDED, event_topic, system_of

if TYPE_CHECKING:
    from notify_streams.outbox.decided_batch import RecordOutcome
    from notify_streams.records.batch import SourceRecord
    from notify_streams.routing.decision import ChannelDecisions
    from notify_streams.settings import Settings

    _MakeDeadLetter = Callable[[RecordOutcome, str, int], RecordOutcome]

_MAX_SOURCE_BYTES = 256


class DecisionEvents:
    """Adds events to outcomes. A system without events costs one look into a dict."""

    def __init__(self, settings: Settings) -> None:
        self._region = settings.region
        self._topics = {system: event_topic(system) for system in settings.event_systems()}

    def add_decisions(
        self,
        outcome: RecordOutcome,
        system: str,
        trigger: Trigger,
        decisions: ChannelDecisions,
        bucket: int,
        user_key: bytes,
        now: datetime,
    ) -> None:
        """Add an event for each delivery of a notified trigger that is not queued."""
        topic = self._topics.get(system)
        if topic is None:
            return
        ended = [one for one in decisions if one.state is not DeliveryState.QUEUED]
        if ended:
            outcome.events = [
                (
                    topic,
                    bucket,
                    user_key,
                    delivery_event(
                        outcome.notification or "",
                        trigger.id or "",
                        trigger.user_id,
                        trigger.category,
                        one.channel,
                        one.state.value,
                        one.reason,
                        now,
                    ),
                    (),
                )
                for one in ended
            ]

    def add_dead_letter(self, outcome: RecordOutcome, topic: str, partition: int) -> RecordOutcome:
        """Add the event of a trigger that became a dead letter, if its system is known. Returns `outcome`."""
        record = outcome.record
        events = self._topics.get(system_of(topic) or read_forwarding_headers(record.headers).system or "")
        if events is None:
            return outcome
        place = f"{topic}:{partition}:{record.offset}"
        # What is too large is not read a second time.
        is_read = outcome.reason != DeadReason.TOO_LARGE.value
        trigger = read_trigger(record.value, record.headers) if is_read else None
        known: dict[str, str | None] = {}
        key = None
        if isinstance(trigger, Trigger):
            known = {"trigger_id": trigger.id, "user_id": trigger.user_id, "category": trigger.category}
            key = trigger.user_id.encode()
        source = (_source(record) if topic == FORWARDED else None) or place
        event = NotificationEvent(
            f"{self._region}:{place}:{DEAD}",
            DEAD,
            datetime.now(UTC),
            0,
            reason=outcome.reason,
            source=source,
            **known,
        )
        outcome.events = ((events, partition, key, encode_event(event), ()),)
        return outcome

    def after(self, make: _MakeDeadLetter) -> _MakeDeadLetter:
        """`make`, with the event."""

        def with_event(outcome: RecordOutcome, topic: str, partition: int) -> RecordOutcome:
            return self.add_dead_letter(make(outcome, topic, partition), topic, partition)

        return with_event


def _source(record: SourceRecord) -> str | None:
    """The place of a forwarded trigger in the region that forwarded it."""
    for name, content in record.headers:
        if name == SOURCE_HEADER and content:
            return content[:_MAX_SOURCE_BYTES].decode("utf-8", "replace")
    return None
