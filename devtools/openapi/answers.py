"""Bodies of views that are no structs in the product.

The views write them from dictionaries. tests/integration/web/test_openapi.py compares them with what a running region answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from notify_streams.admin.template_check import CheckedLocale
from notify_streams.admin.why.story import Story
from notify_streams.delivery.delivery_ledger import COUNTS
from notify_streams.delivery.provider_state import ProviderState
from notify_streams.preferences.categories import Default
from notify_streams.roles import Channel
from notify_streams.web.lag import PartitionLag
from notify_streams.web.ledger import SUMMED, Sums
from notify_streams.web.metric_readers import Times
from notify_streams.web.outbox import Backlog
from notify_streams.web.search import SearchResult
from notify_streams.web.summary import EndedDeliveries, Recovery


class ErrorAnswer(msgspec.Struct):
    """Every error. The other fields are those of single views."""

    error: str
    #: of 404 and 421: the id in the path
    user_id: str | UnsetType = UNSET
    #: of 421: the region to ask; null: none serves the person now
    served_by: str | UnsetType | None = UNSET
    #: of 404: those that there are
    categories: list[str] | UnsetType = UNSET
    channels: list[str] | UnsetType = UNSET
    templates: list[str] | UnsetType = UNSET


class LiveAnswer(msgspec.Struct):
    """Whether a restart would help."""

    live: bool
    stuck: list[str]


class ReadyAnswer(msgspec.Struct):
    """Whether the worker works and nothing is wrong around it."""

    ready: bool
    waiting_for: list[str]
    tables: list[Recovery]


class LagAnswer(msgspec.Struct):
    """The lag of the worker's partitions in records."""

    region: str
    role: str
    records: int
    topics: dict[str, int]
    partitions: list[PartitionLag]


class Home(msgspec.Struct):
    """Of the registry; the region alone if the registry does not answer."""

    region: str
    version: int | UnsetType = UNSET
    updated_at: datetime | UnsetType = UNSET
    locale: str | UnsetType = UNSET
    time_zone: str | UnsetType = UNSET
    standby: str | UnsetType | None = UNSET
    previous: str | UnsetType | None = UNSET


class ShownDevice(msgspec.Struct):
    """A device without its token."""

    token_sha: str
    token_end: str
    provider: str | None
    app: str | None
    locale: str | None
    last_seen: datetime | None


class ShownContacts(msgspec.Struct):
    """How the person is reached."""

    push: str | None
    sms: str | None
    email: str | None
    updated_at: datetime
    devices: list[ShownDevice] | UnsetType = UNSET


class ShownChoice(msgspec.Struct):
    """One category on one channel."""

    default: Default
    sends: bool
    choice: Literal["in", "out"] | None
    at: datetime | UnsetType = UNSET
    version: int | UnsetType = UNSET


class ShownPreferences(msgspec.Struct):
    """Category → channel → choice."""

    version: int
    categories: dict[str, dict[Channel, ShownChoice]]


class UserAnswer(msgspec.Struct):
    """A person. One whom another region serves has `see` in place of `preferences` and `contacts`."""

    user_id: str
    bucket: int
    shard: int
    home: Home
    served_by: str | None
    see: str | UnsetType = UNSET
    preferences: ShownPreferences | UnsetType = UNSET
    contacts: ShownContacts | UnsetType | None = UNSET


class StoredChoice(msgspec.Struct):
    """A choice that every check from now on sees."""

    user_id: str
    category: str
    channel: Channel
    opted_in: bool
    version: int
    updated_at: datetime


class LocationAnswer(msgspec.Struct):
    """A user's home region."""

    region: str
    version: int


class DeadLetter(msgspec.Struct):
    """One dead letter. The headers' values and `value` are cut to 2,000 characters."""

    #: `topic-partition@offset`
    place: str
    at: datetime
    key: str | None
    bytes: int
    reason: str | None
    detail: str | None
    topic: str | None
    partition: str | None
    offset: str | None
    headers: list[tuple[str, str]]
    value: str | UnsetType | None = UNSET


class DeadLettersAnswer(msgspec.Struct):
    """The number of dead letters by reason, and the newest."""

    region: str
    dead: int
    reasons: dict[str, int]
    complete: bool
    newest: list[DeadLetter]


class ProviderWorker(msgspec.Struct):
    """One worker of a channel, since its start."""

    role: str
    uptime_s: float
    provider: ProviderState
    #: provider → times of its calls
    calls: dict[str, Times]
    deliveries: list[EndedDeliveries]


class ProvidersAnswer(msgspec.Struct):
    """The workers of channels that answered."""

    region: str
    since: str
    workers: list[ProviderWorker]


class SeenRegion(msgspec.Struct):
    """One region. What is not known is null."""

    region: str
    here: bool
    served_by: str | None
    epoch: int | None
    open_claim: bool | None
    forwarding: bool
    waiting_records: int | None


class RegionsAnswer(msgspec.Struct):
    """Who serves which region."""

    region: str
    standby: str | None
    known: bool
    waiting_for: str | None
    unreachable: list[str]
    regions: list[SeenRegion]


class SearchAnswer(msgspec.Struct):
    """The pages that were found. `unknown`: what could not be searched, and why."""

    results: list[SearchResult]
    unknown: list[str]


class TemplatesAnswer(msgspec.Struct):
    """All templates, and what is wrong with them."""

    holds: bool
    problems: list[str]
    templates: list[CheckedLocale]


class SealedPeriods(msgspec.Struct):
    """The sealed sums of a region."""

    count: int
    first: datetime | None
    last: datetime | None
    closes: bool


def _struct(
    name: str, text: str, fields: Mapping[str, Any], first: type[msgspec.Struct] | None = None
) -> type[msgspec.Struct]:
    """A struct with the fields of `first` and more. A field of a type and `UnsetType` may be missing."""
    of_first = () if first is None else msgspec.structs.fields(first)
    all_fields: list[Any] = [
        (one.encode_name, one.type) if one.required else (one.encode_name, one.type, UNSET) for one in of_first
    ]
    for field, kind in fields.items():
        may_be_missing = UnsetType in getattr(kind, "__args__", ())
        all_fields.append((field, kind, UNSET) if may_be_missing else (field, kind))
    made = msgspec.defstruct(name, all_fields, kw_only=True)
    made.__doc__ = text
    return made


LedgerRow: Final = _struct(
    "LedgerRow",
    "One role and partition. Which counts there are depends on the role.",
    {
        "role": str,
        "topic": str,
        "partition": int,
        "first_offset": int | None,
        "next_offset": int | None,
        "period_end": datetime | None,
        "sealed_to": datetime | None,
        "dead_reasons": dict[str, int],
        "closes": bool,
        **dict.fromkeys((*SUMMED, *COUNTS), int | UnsetType | None),
    },
)
LedgerAnswer: Final = _struct(
    "LedgerAnswer",
    "Whether the outcomes add up.",
    {"region": str, "sealed": SealedPeriods, "ledgers": list[LedgerRow]},  # type: ignore[valid-type] # it is a struct
    Sums,
)
OutboxAnswer: Final = _struct("OutboxAnswer", "Unpublished rows.", {"region": str}, Backlog)
StoryAnswer: Final = _struct(
    "StoryAnswer", "What is known of a notification.", {"region": str, "error": str | UnsetType}, Story
)
