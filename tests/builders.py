"""Values with defaults for all tests: `a_trigger(category="marketing")` differs from the usual one in that alone.

Comes in: what the test is about. Goes out: the application's own values, and plain fakes for what it asks of others.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from notify_streams.admin.audit.provider_log import AcceptedMessage
from notify_streams.delivery.providers import Outgoing, ProviderOutcome, ProviderResult
from notify_streams.outbox.decided_batch import DecidedBatch, RecordOutcome
from notify_streams.preferences.categories import Categories, Category, channels_of_templates, load_categories
from notify_streams.preferences.row_codec import EMPTY_ROW, encode_row
from notify_streams.records.channel_message import ChannelMessage
from notify_streams.records.devices import Devices
from notify_streams.records.ids import delivery_id, notification_id
from notify_streams.records.outcomes import DeliveryState, TriggerOutcome
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.periods import end_of_period
from notify_streams.records.trigger import Trigger
from notify_streams.records.user_records import ContactRow, Contacts
from notify_streams.regions.failover.placement import Placement
from notify_streams.regions.failover.protocol import initial_homes
from notify_streams.regions.locations import Location
from notify_streams.roles import Channel
from notify_streams.routing.decision import ChannelDecision, ChannelDecisions
from notify_streams.routing.notification_codec import NotificationEncoder
from notify_streams.routing.outcome_records import notified
from notify_streams.settings import Settings
from notify_streams.templates.catalog import Templates
from notify_streams.templates.files import TemplateFiles
from tests.log_leaks import SENDERS_TEXT

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
PARTITIONS = 8


@cache
def templates() -> Templates:
    """Those of ``config/templates``."""
    return Templates(TemplateFiles(Path(__file__).parent.parent / "config"), channels_of_templates(categories()))


def categories() -> Categories:
    """Those of ``config/categories.yaml``: payments (may be critical), marketing (may not), security (always)."""
    return load_categories(Path(__file__).parent.parent / "config" / "categories.yaml")


def a_category(**but: Any) -> Category:
    usual = {
        "number": 9,
        "channels": {"push": "in", "sms": "out", "email": "always"},
        "systems": ["payments"],
        "ttl_s": 3600,
    }
    return msgspec.convert(usual | but, Category)


def some_settings(**but: Any) -> Settings:
    usual = {
        "region": "us",
        "kafka": "localhost:9092",
        "shards": ["mongodb://localhost:1"],
        "redis": "redis://localhost:1/0",
        "partitions": PARTITIONS,
        "replication": 1,
    }
    return msgspec.convert(usual | but, Settings)


@dataclass(frozen=True, slots=True)
class ARecord:
    """A Kafka record as the transport delivers it."""

    value: bytes | None = b""
    key: bytes | None = None
    #: A client may write a header without a value.
    headers: Sequence[tuple[str, Any]] = ()
    offset: int = 0
    timestamp: int = 0


@dataclass(frozen=True, slots=True)
class ABatch:
    """A batch as the transport delivers it."""

    records: Sequence[ARecord]
    topic: str = "triggers.payments"
    partition: int = 3
    start: int = 0
    end: int = 0
    lost: int = 0


def a_batch(*values: bytes | ARecord | None, start: int = 0, end: int | None = None, **but: Any) -> ABatch:
    """Records at consecutive offsets from `start`."""
    records = [
        ARecord(value.value, value.key, value.headers, start + place, value.timestamp)
        if isinstance(value, ARecord)
        else ARecord(value, offset=start + place)
        for place, value in enumerate(values)
    ]
    return ABatch(records, start=start, end=start + len(records) if end is None else end, **but)


def trigger_fields(**but: Any) -> dict[str, Any]:
    """The JSON object of a trigger; a field set to `...` is left out. No log line may show its `note`."""
    usual = {
        "id": "t-1",
        "user_id": "u-42",
        "category": "payments",
        "template": "payment_received",
        "data": {"amount": "12.50", "note": SENDERS_TEXT},
    }
    return {name: value for name, value in (usual | but).items() if value is not ...}


def trigger_json(**but: Any) -> bytes:
    return json.dumps(trigger_fields(**but)).encode()


def a_trigger(**but: Any) -> Trigger:
    """As the router sees it: `data` may be given as a dict."""
    data = but.pop("data", {"amount": "12.50"})
    raw = {} if data is None else {"data": msgspec.Raw(msgspec.json.encode(data))}
    usual: dict[str, Any] = {"id": "t-1", "user_id": "u-42", "category": "payments", "template": "payment_received"}
    return Trigger(**(usual | raw | but))


def contacts(user_id: str = "u-42", **but: Any) -> Contacts:
    usual: dict[str, Any] = {"push": f"token-{user_id}", "sms": "+15551234567", "email": f"{user_id}@example.org"}
    return Contacts(user_id=user_id, updated_at=NOON, **(usual | but))


def a_message(**but: Any) -> ChannelMessage:
    """A push message for u-42."""
    user_id, trigger_id, channel = (
        but.get("user_id", "u-42"),
        but.get("trigger_id", "t-1"),
        but.get("channel", "push"),
    )
    notification = notification_id(trigger_id, user_id, "payments")
    data = but.pop("data", {"amount": "12.50"})
    usual: dict[str, Any] = {
        "delivery_id": delivery_id(notification, channel),
        "channel": channel,
        "to": f"token-{user_id}",
        "notification_id": notification,
        "trigger_id": trigger_id,
        "user_id": user_id,
        "category": "payments",
        "decided_at": NOON,
        "template": "payment_received",
    }
    if data is not None:
        usual["data"] = msgspec.Raw(msgspec.json.encode(data))
    return ChannelMessage(**(usual | but))


@dataclass
class FakeRecipients:
    """`routing.recipient_lookup.RecipientLookup` from dicts; records who was looked up."""

    located: dict[str, Location] = field(default_factory=dict)
    known_contacts: dict[str, Contacts] = field(default_factory=dict)
    rows: dict[str, bytes] = field(default_factory=dict)
    asked: list[list[str]] = field(default_factory=list)
    #: Raised, one after the other, before an answer is given.
    troubles: list[Exception] = field(default_factory=list)
    recent: set[str] = field(default_factory=set)

    def may_get_contacts(self, user_id: str) -> bool:
        return user_id in self.recent

    def locations(self, bucket: int, user_ids: Sequence[bytes]) -> list[Location | None]:
        found = [self.located.get(user_id.decode()) for user_id in user_ids]
        return [location if location and location.bucket == bucket else None for location in found]

    def addresses(self, bucket: int, user_ids: Sequence[bytes]) -> list[Contacts | None]:
        return [self.known_contacts.get(user_id.decode()) for user_id in user_ids]

    async def preference_rows(self, bucket: int, user_ids: Sequence[str]) -> Sequence[bytes]:
        self.asked.append(list(user_ids))
        if self.troubles:
            raise self.troubles.pop(0)
        return [self.rows.get(user_id, EMPTY_ROW) for user_id in user_ids]

    def add(
        self,
        user_id: str,
        region: str = "us",
        choices: Mapping[int, Mapping[Channel, bool]] | None = None,
        bucket: int | None = None,
        previous: str | None = None,
        **contacts_but: Any,
    ) -> str:
        """Someone who signed up, or moved there from `previous`; returns the user id."""
        bucket = bucket_of(user_id, PARTITIONS) if bucket is None else bucket
        self.located[user_id] = Location(region, bucket, 1 if previous is None else 2, previous)
        self.known_contacts[user_id] = contacts(user_id, **contacts_but)
        if choices is not None:
            self.rows[user_id] = encode_row(len(choices), choices)
        return user_id


def a_placement(here: str = "us", **homes: Any) -> Placement:
    """Everyone is served at home, but for the homes that are given."""
    return Placement(here, initial_homes(("us", "eu", "asia")) | homes)


@dataclass
class FakePlacements:
    """`routing.router.PlacementSource`: placements one after the other; the next one when the router waits for it."""

    placement: Placement | None = field(default_factory=a_placement)
    later: list[Placement] = field(default_factory=list)

    async def changed(self, epoch: int) -> Placement:
        self.placement = self.later.pop(0)
        assert self.placement.epoch > epoch
        return self.placement


def users_of(bucket: int, count: int, prefix: str = "u") -> list[str]:
    """User ids whose bucket this is."""
    found: list[str] = []
    number = 0
    while len(found) < count:
        name = f"{prefix}-{number}"
        if bucket_of(name, PARTITIONS) == bucket:
            found.append(name)
        number += 1
    return found


def an_outcome(
    trigger_id: str = "t-1",
    *,
    user_id: str = "u-42",
    bucket: int = 3,
    offset: int = 0,
    channels: Sequence[Channel] = ("push",),
    decisions: ChannelDecisions | None = None,
    critical: bool = False,
    now: datetime = NOON,
    system: str = "payments",
    devices: Devices | None = None,
    record: ARecord | None = None,
    **but: Any,
) -> RecordOutcome:
    """A notified trigger with a queued delivery for each of `channels`, or with these decisions; by push to `devices`.

    `record`: the trigger's, with its time and headers.
    """
    trigger = a_trigger(id=trigger_id, user_id=user_id, **but)
    decisions = decisions or tuple(ChannelDecision(channel, DeliveryState.QUEUED) for channel in channels)
    contact = f"contact-{user_id}"
    ways = ContactRow(1, contact, contact, contact) if devices is None else ContactRow(1, devices=devices)
    form = NotificationEncoder(bucket, "us", critical, now, end_of_period(now, 3600), 3600)
    expires_at = datetime(2100, 1, 1, tzinfo=UTC)
    return notified(
        record or ARecord(b"{}", offset=offset),
        f"triggers.{system}",
        user_id.encode(),
        system,
        trigger,
        decisions,
        expires_at,
        ways,
        7,
        form,
    )


def an_acceptance(notification: str = "n", *, channel: str = "push", done: float = 2.5, **but: Any) -> AcceptedMessage:
    """A line of the providers' record."""
    usual: dict[str, Any] = {
        "at": done,
        "provider": "fcm",
        "delivery_id": f"{notification}.{channel}",
        "attempt": 1,
        "possible_duplicate": False,
        "critical": False,
        "to_sha": "",
    }
    return AcceptedMessage(notification_id=notification, channel=channel, done=done, **(usual | but))


class AClient:
    """A provider's client: each call ends as the next of `results`, then as accepted."""

    def __init__(self, name: str = "fake", *results: ProviderResult, max_in_flight: int = 8) -> None:
        self.name, self.max_in_flight = name, max_in_flight
        self.calls: list[Outgoing] = []
        self.results = list(results)
        #: If there is one, calls end when it is set.
        self.gate: asyncio.Event | None = None

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def send(self, message: Outgoing) -> ProviderResult:
        self.calls.append(message)
        if self.gate is not None:
            await self.gate.wait()
        accepted = ProviderResult(outcome=ProviderOutcome.ACCEPTED, provider=self.name)
        return self.results.pop(0) if self.results else accepted


class ShardsWithClock:
    """Shards of which only the clock can be read."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.admin = self
        self.readings = 0

    def client(self, shard: int) -> ShardsWithClock:
        return self

    async def command(self, name: str) -> dict[str, datetime]:
        self.readings += 1
        now = self._now().astimezone(UTC)
        # As the driver: UTC, without a zone.
        return {"localTime": now.replace(microsecond=now.microsecond // 1000 * 1000, tzinfo=None)}


@dataclass
class AckRecorder:
    """An `AckHandle` that records its calls and passes them on."""

    on_ack: Callable[[], object] | None = None
    on_refuse: Callable[[int], object] | None = None
    #: `current` is true this many times; None: until `overtaken` is set.
    current_calls: int | None = None
    overtaken: bool = False
    acknowledged: int = 0
    refused: list[int] = field(default_factory=list)

    def ack(self) -> None:
        self.acknowledged += 1
        if self.on_ack is not None:
            self.on_ack()

    def refuse(self, position: int) -> None:
        self.refused.append(position)
        if self.on_refuse is not None:
            self.on_refuse(position)

    def current(self) -> bool:
        if self.current_calls is not None:
            self.overtaken = self.current_calls == 0
            self.current_calls -= not self.overtaken
        return not self.overtaken


def a_decided_batch(
    *entries: RecordOutcome,
    start: int = 0,
    end: int | None = None,
    other_lane: int = 0,
    topic: str = "triggers.payments",
    partition: int = 3,
    acks: AckRecorder | None = None,
    lost: int = 0,
) -> DecidedBatch:
    """A decided batch with a handle that records its acknowledgement or refusal. Its notifications are those of `an_outcome`."""
    end = start + len(entries) + other_lane if end is None else end
    handle, period_end = acks or AckRecorder(), end_of_period(NOON, 3600)
    return DecidedBatch(
        topic, partition, start, end, list(entries), other_lane, handle, lost=lost, period_end=period_end
    )


def outcomes(taken: DecidedBatch) -> list[str]:
    return [entry.outcome.value for entry in taken.entries]


def is_dead(entry: RecordOutcome, reason: str) -> bool:
    return entry.outcome is TriggerOutcome.DEAD and entry.reason == reason


def document_of(entry: RecordOutcome) -> Mapping[str, Any]:
    """The notification document of a notified trigger."""
    assert entry.document is not None
    return entry.document
