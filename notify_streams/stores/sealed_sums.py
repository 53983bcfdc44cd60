"""Sealed sums: what each ledger counted in a period that is over. No expiry.

Each ledger has one open period, ``period_end``. The first flush behind its end seals it: one transaction writes the ledger's counts into
`sealed_sums` and opens the next period. So what a period counted cannot change any more, and the end of one period is the beginning of the
next one. A ledger in which nothing moves is not sealed again: its period becomes longer.

A period is over by the shard's clock, which also deletes notifications. A sealing that fails delays nothing: the period becomes longer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from notify_streams import metrics
from notify_streams.errors import StoreUnavailable
from notify_streams.records.periods import end_of_period
from notify_streams.roles import CHANNEL_ROLES, LANES
from notify_streams.stores.mongo import LEDGER, SEALED_SUMS, run_transaction, write_in_session
from notify_streams.stores.mongo_errors import mongo_call
from notify_streams.stores.shard_clocks import shard_time

if TYPE_CHECKING:
    from pymongo.asynchronous.client_session import AsyncClientSession

    from notify_streams.settings_retention import RetentionSettings
    from notify_streams.stores.mongo import Document, Shards

log = logging.getLogger(__name__)

#: Numbers of a ledger that are no counts.
_NO_COUNTS: Final = frozenset({"bucket", "partition", "first_offset", "claimed_to", "epoch"})
#: After a failure.
_AGAIN_S: Final = 1.0


def sealed_id(ledger: str, partitions: int, end: datetime) -> str:
    """``<ledger>/<partitions>/<end>``: sorted by it, the periods of a ledger follow each other, also when a region has grown."""
    return f"{ledger}/{partitions:06}/{end:%Y-%m-%dT%H:%M:%SZ}"


def stage_of(role: str) -> str:
    """routing, registry or delivery."""
    return "routing" if role in LANES else "delivery" if role in CHANNEL_ROLES else role


def counts_of(ledger: Mapping[str, Any]) -> Document:
    """Position and counts of a ledger, those by topic and reason (`queued`, `dead_reasons`) as dictionaries; without those that are 0."""
    found: Document = {"next_offset": ledger["next_offset"]}
    for name, value in ledger.items():
        if isinstance(value, int) and value and name not in _NO_COUNTS:
            found[name] = value
        elif name in ("queued", "dead_reasons"):
            found[name] = {key: count for key, count in value.items() if count}
    return found


def opening_of(ledger: Mapping[str, Any]) -> Document:
    """The counts of a ledger before its first record."""
    return {"next_offset": ledger["first_offset"]}


def sealed_document(ledger: Mapping[str, Any], partitions: int, opening: Document, now: datetime) -> Document:
    """The sealed sums of the period that a ledger has open; one without an open period is of an earlier release."""
    end = ledger.get("period_end") or now
    return {
        "_id": sealed_id(ledger["_id"], partitions, end),
        "bucket": ledger["bucket"],
        "partitions": partitions,
        "role": ledger["role"],
        "stage": stage_of(ledger["role"]),
        "topic": ledger["topic"],
        "partition": ledger["partition"],
        "period_begin": ledger.get("sealed_to") or (ledger.get("began_at") if ledger.get("period_end") else None),
        "period_end": end,
        "sealed_at": now,
        "first_offset": ledger["first_offset"],
        "opening": opening,
        "closing": counts_of(ledger),
    }


class OpenPeriods:
    """The open periods of those ledgers of one shard that a worker moves."""

    def __init__(self, shards: Shards, shard: int, retention: RetentionSettings, timeout_s: float) -> None:
        self._shards = shards
        self._shard = shard
        self._period_s = retention.period_s
        self._timeout_s = timeout_s
        #: By ledger: its bucket, and the end of its open period.
        self._buckets: dict[str, int] = {}
        self._ends: dict[str, datetime] = {}
        #: When the first of these periods is over (monotonic).
        self._over_at = 0.0
        self._moved = False

    async def of(self, ledgers: Mapping[str, int]) -> Mapping[str, datetime]:
        """The end of the open period of each of these ledgers (id → bucket) that exists. Seals periods that are over. Call it before a flush.

        Raises:
            StoreUnavailable: the period of a ledger is not known, and the shard does not answer.
        """
        self._moved = True
        is_known = ledgers.keys() <= self._ends.keys()
        if not is_known or time.monotonic() >= self._over_at:
            self._buckets.update(ledgers)
            await self._seal(must=not is_known)
        return self._ends

    async def follow(self, ledgers: Mapping[str, int]) -> None:
        """Seal after a flush of these ledgers, if a period is over; a failure is tried again after a later one."""
        with suppress(StoreUnavailable):
            await self.of(ledgers)

    def moved(self) -> None:
        """A ledger has moved without a flush."""
        self._moved = True

    def due_s(self) -> float | None:
        """Seconds until a period is over in which a ledger has moved; None: there is none."""
        return max(0.0, self._over_at - time.monotonic()) if self._moved and self._ends else None

    async def seal_idle(self) -> None:
        """Seal the periods that are over, if no flush has done so."""
        if self.due_s() == 0.0:
            self._moved = False
            await self._seal(must=False)

    def forget(self, ledgers: Collection[str] | None = None) -> None:
        """Read the periods of these ledgers, or of all (None), again."""
        for ledger in list(self._ends) if ledgers is None else ledgers:
            self._ends.pop(ledger, None)
            self._buckets.pop(ledger, None)

    async def _seal(self, *, must: bool) -> None:
        try:
            with mongo_call(f"seal sums on shard {self._shard}", self._timeout_s):
                now = await shard_time(self._shards, self._shard)
                read_at = time.monotonic()
                end = end_of_period(now, self._period_s)
                ends = await seal(self._shards, self._shard, dict(self._buckets), end, now)
            # Some may have been forgotten meanwhile.
            self._ends = {ledger: at for ledger, at in ends.items() if ledger in self._buckets}
            self._buckets = {ledger: self._buckets[ledger] for ledger in self._ends}
            self._over_at = read_at + (end - now).total_seconds()
        except StoreUnavailable as error:
            if must:
                raise
            self._over_at = time.monotonic() + _AGAIN_S
            self._moved = True
            log.warning("sums not sealed yet", extra={"action": "sums.seal", "error": error})


async def seal(
    shards: Shards, shard: int, ledgers: Mapping[str, int], end: datetime, now: datetime
) -> dict[str, datetime]:
    """Seal the periods of these ledgers (id → bucket) that end before `end`, and let theirs end at `end`; may be repeated.

    Returns:
        The end of the open period of each ledger that exists.

    Raises:
        PyMongoError
    """
    database = shards.database(shard)
    partitions = len(shards.all_buckets())
    #: A ledger goes on when the region grows: its last period may have been sealed before.
    counts = (partitions, *shards.directory.former_counts())
    ends: dict[str, datetime] = {}
    sealed = 0

    async def body(session: AsyncClientSession) -> None:
        nonlocal sealed
        query = {"_id": {"$in": list(ledgers)}, "bucket": {"$in": sorted(set(ledgers.values()))}}
        found = await database[LEDGER].find(query, session=session).to_list()
        due = [one for one in found if one.get("period_end") is None or one["period_end"] < end]
        ends.update({one["_id"]: end if one in due else one["period_end"] for one in found})
        if not due:
            return
        before = await _closings(session, due)
        documents, updates = [], []
        for one in due:
            opening = before.get(one["_id"]) or opening_of(one)
            change: Document = {"period_end": end}
            if counts_of(one) != opening:
                documents.append(document := sealed_document(one, partitions, opening, now))
                change["sealed_to"] = document["period_end"]
            elif one.get("period_end") is None:
                change["began_at"] = now
            updates.append({"q": {"_id": one["_id"], "bucket": one["bucket"]}, "u": {"$set": change}})
        await write_in_session(session, database, "update", LEDGER, updates=updates)
        if documents:
            await write_in_session(session, database, "insert", SEALED_SUMS, documents=documents)
        sealed = len(documents)

    async def _closings(session: AsyncClientSession, due: Collection[Document]) -> dict[str, Document]:
        """The closing counts of the last sealed period of each of these ledgers that has one."""
        last = {
            sealed_id(one["_id"], count, one["sealed_to"]): one["_id"]
            for one in due
            if one.get("sealed_to")
            for count in counts
        }
        query = {"_id": {"$in": list(last)}, "bucket": {"$in": sorted({one["bucket"] for one in due})}}
        return {last[one["_id"]]: one["closing"] async for one in database[SEALED_SUMS].find(query, session=session)}

    await run_transaction(shards.client(shard), body)
    metrics.SEALED.inc(sealed)
    return ends


async def seal_all(shards: Shards, timeout_s: float) -> None:
    """Seal the open period of every ledger now, before all of them are made anew. No worker may run.

    Raises:
        StoreUnavailable: a shard does not answer; call again.
    """
    for shard in range(len(shards)):
        with mongo_call(f"seal sums on shard {shard}", timeout_s):
            here = {"bucket": {"$in": shards.buckets(shard)}}
            found = await shards.database(shard)[LEDGER].find(here, {"bucket": 1, "period_end": 1}).to_list()
            now = datetime.now(UTC).replace(microsecond=0)
            latest = max((one["period_end"] for one in found if one.get("period_end")), default=now)
            end = max(now, latest) + timedelta(seconds=1)
            await seal(shards, shard, {one["_id"]: one["bucket"] for one in found}, end, now)
