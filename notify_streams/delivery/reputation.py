"""Mail reputation: bounces and complaints by category and hour, and what follows.

A category above a limit is paused for mail.

``{_id, category, domain, hour, sent, rejected, bounced, complained, forgiven}`` in the collection `reputation`. `sent`: a provider took the
mail; `rejected`: it refused it in the call; `bounced`: no such mailbox, in the call or by a receipt. `forgiven` has the counts that an
operator has ended with `providers resume`: the limits do not count them. A crash loses at most the counts of the last second.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from pymongo import UpdateOne

from notify_streams import metrics, tasks
from notify_streams.delivery.pauses import ProviderPauses, category_pause
from notify_streams.errors import StoreUnavailable
from notify_streams.records.outcomes import DeliveryState, Reason
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from notify_streams.settings import ReputationSettings, Settings
    from notify_streams.stores.mongo import Document, Shards

log = logging.getLogger(__name__)

_REPUTATION: Final = "reputation"
_EVERY_S: Final = 1.0
#: After the window, for the eyes of an operator.
_KEPT: Final = timedelta(days=30)
_KINDS: Final = ("sent", "rejected", "bounced", "complained")
#: Reasons of a failed mail: what its provider had to say about it, and that the mailbox does not exist.
_REFUSED: Final = frozenset((Reason.PROVIDER_REJECTED.value, Reason.DEAD_TOKEN.value))
_BOUNCED: Final = frozenset((Reason.DEAD_TOKEN.value, Reason.BOUNCED.value))

#: Category, domain, hour.
_Key = tuple[str, str, datetime]


@dataclass(frozen=True, slots=True)
class Rates:
    """The counts of a category within the window."""

    #: Mails that were handed to a provider.
    handed: int
    bounced: int
    complained: int

    def excess(self, limits: ReputationSettings) -> str | None:
        """What is above its limit, in words; None: nothing is, or too few mails were sent."""
        if self.handed < limits.min_sent:
            return None
        for name, count, limit in (
            ("bounce", self.bounced, limits.bounce_rate),
            ("complaint", self.complained, limits.complaint_rate),
        ):
            if count > limit * self.handed:
                return f"{name} rate {count / self.handed:.2%} of {self.handed} mails, limit {limit:.2%}"
        return None


class ReputationCounts:
    """The counts of a region. They are on whichever shards answered: a reader adds them up."""

    def __init__(self, shards: Shards, timeout_s: float) -> None:
        self._shards = shards
        self._timeout_s = timeout_s

    async def add(self, counts: Mapping[_Key, Mapping[str, int]]) -> None:
        """Add to the counts, on the first shard that answers.

        Raises:
            StoreUnavailable: no shard answers. After an unknown result they may be added twice.
        """
        updates = [
            UpdateOne(
                {"_id": f"{category}:{domain}:{hour:%Y-%m-%dT%H}"},
                {"$inc": dict(found), "$setOnInsert": {"category": category, "domain": domain, "hour": hour}},
                upsert=True,
            )
            for (category, domain, hour), found in counts.items()
        ]
        for shard in range(len(self._shards)):
            try:
                with mongo_call(f"count mails on shard {shard}", self._timeout_s):
                    await self._shards.database(shard)[_REPUTATION].bulk_write(updates, ordered=False)
                    return
            except StoreUnavailable:
                if shard == len(self._shards) - 1:
                    raise

    async def rates(self, since: datetime) -> dict[str, Rates]:
        """By category: what was counted in the hours from `since` on the shards that answer, without what was forgiven.

        Raises:
            StoreUnavailable: no shard answers.
        """
        found: defaultdict[str, Counter[str]] = defaultdict(Counter)
        answered = 0
        for shard in range(len(self._shards)):
            try:
                with mongo_call(f"read counts of mails on shard {shard}", self._timeout_s):
                    counts = await self._shards.database(shard)[_REPUTATION].find({"hour": {"$gte": since}}).to_list()
            except StoreUnavailable:
                if shard == len(self._shards) - 1 and not answered:
                    raise
                continue
            answered += 1
            for one in counts:
                forgiven = one.get("forgiven", {})
                found[one["category"]] += Counter({kind: _left(one, forgiven, kind) for kind in _KINDS})
        return {
            category: Rates(one["sent"] + one["rejected"], one["bounced"], one["complained"])
            for category, one in found.items()
        }

    async def forgive(self, category: str) -> None:
        """The limits do not count what was counted until now.

        Raises:
            StoreUnavailable: a shard did not answer; call again.
        """
        counted = {kind: {"$ifNull": [f"${kind}", 0]} for kind in _KINDS}
        await self._each_shard(
            lambda found: found.update_many({"category": category}, [{"$set": {"forgiven": counted}}])
        )

    async def delete_before(self, time: datetime) -> None:
        """Delete old counts.

        Raises:
            StoreUnavailable: a shard did not answer.
        """
        await self._each_shard(lambda found: found.delete_many({"hour": {"$lt": time}}))

    async def _each_shard(self, change: Any) -> None:
        for shard in range(len(self._shards)):
            with mongo_call(f"change counts of mails on shard {shard}", self._timeout_s):
                await change(self._shards.database(shard)[_REPUTATION])


def _left(document: Document, forgiven: Mapping[str, int], kind: str) -> int:
    return int(document.get(kind, 0) - forgiven.get(kind, 0))


class Reputation:
    """Counts the mails of one worker, and pauses a category for mail when it is above a limit."""

    def __init__(self, settings: Settings, shards: Shards) -> None:
        timeout_s = settings.outbox.transaction_timeout_s
        self._limits = settings.reputation
        #: Several senders count together, under the first.
        self._domain = (settings.providers.mail_sender or "").rpartition("@")[2].rstrip(">").lower()
        self._counts = ReputationCounts(shards, timeout_s)
        self._pauses = ProviderPauses(shards, timeout_s)
        self._waiting: dict[_Key, Counter[str]] = {}
        self._changed = asyncio.Event()
        #: A bounce or a complaint was counted since the last look at the limits.
        self._must_check = False
        self._deleted_at = datetime.min.replace(tzinfo=UTC)
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._running = asyncio.create_task(tasks.keep_running("mail reputation", self._run))

    async def stop(self) -> None:
        await tasks.stop([self._running])

    def count_end(self, category: str, state: DeliveryState, reason: str | None) -> None:
        """Count how a call for a mail ended. Nothing else counts: a mail that was not handed to a provider."""
        if state is DeliveryState.SENT:
            self._add(category, "sent")
        elif state is DeliveryState.FAILED and reason in _REFUSED:
            self._add(category, "rejected")
            self.count_receipt(category, reason)

    def count_receipt(self, category: str, reason: str | None) -> None:
        """Count a receipt for a mail, by its reason."""
        if reason in _BOUNCED:
            self._add(category, "bounced")
            self._must_check = True
        elif reason == Reason.COMPLAINT.value:
            self._add(category, "complained")
            self._must_check = True

    def _add(self, category: str, kind: str) -> None:
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        key = category, self._domain, hour
        counts = self._waiting.get(key)
        if counts is None:
            counts = self._waiting[key] = Counter()
        counts[kind] += 1
        self._changed.set()

    async def _run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self.flush()
            except Exception as error:
                self._changed.set()
                if not isinstance(error, StoreUnavailable):
                    raise
                log.warning("mails are not counted yet", extra={"action": "reputation.count", "error": error})
            await asyncio.sleep(_EVERY_S)

    async def flush(self) -> None:
        """Store the counts; pause what is above a limit.

        Raises:
            StoreUnavailable: call again.
        """
        must_check, self._must_check = self._must_check, False
        try:
            await self._store_waiting()
            if must_check:
                await self._check_limits(datetime.now(UTC))
        except Exception:
            self._must_check |= must_check
            raise

    async def _store_waiting(self) -> None:
        if counts := self._waiting:
            self._waiting = {}
            try:
                await self._counts.add(counts)
            except Exception:
                for key, found in counts.items():
                    self._waiting.setdefault(key, Counter()).update(found)
                raise

    async def _check_limits(self, now: datetime) -> None:
        for category, rates in (await self._counts.rates(now - timedelta(hours=self._limits.window_h))).items():
            if excess := rates.excess(self._limits):
                await self._pause(category, excess)
        if now > self._deleted_at + timedelta(hours=1):
            await self._counts.delete_before(now - timedelta(hours=self._limits.window_h) - _KEPT)
            self._deleted_at = now

    async def _pause(self, category: str, excess: str) -> None:
        if await self._pauses.pause(category_pause("email", category), excess):
            metrics.REPUTATION_PAUSES.labels(category).inc()
            log.error(
                "mails of a category wait: too many bounce or are complained about",
                extra={"action": "reputation.pause", "category": category, "reason": excess},
            )
