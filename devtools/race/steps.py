"""How a message of the race passes the router and a channel worker: the real checks, with the waits of the plan between them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from devtools.race.invariants import Call, Chosen, Suppression
from notify_streams.errors import RetryLater
from notify_streams.preferences.row_codec import NOTHING, bits_of, newest, version_of
from notify_streams.records.channel_message import ChannelMessage
from notify_streams.records.user_records import PreferenceUpdate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devtools.race.invariants import Observations
    from devtools.race.schedule import ChoiceEvent, MessageEvent
    from notify_streams.preferences.assembly import PreferenceComponents
    from notify_streams.preferences.categories import Category

#: A check that the race can be run without, to see that its absence is noticed.
Check = Literal["decision", "delta", "durable", "recheck", "lease"]

#: Any category whose push is sent unless opted out.
CATEGORY: Final = "marketing"
_PAUSE_S: Final = 0.05
#: A worker that is so slow that no check is still good when it ends gives the message back.
_CHECKS: Final = 50


@dataclass(slots=True)
class Table:
    """A router's table: follows the topic, `lag_s` late."""

    lag_s: float
    rows: dict[str, bytes] = field(default_factory=dict)

    def read(self, user_ids: Sequence[str]) -> list[bytes | None]:
        return [self.rows.get(user_id) for user_id in user_ids]

    def take(self, rows: dict[str, bytes]) -> None:
        for user_id, row in rows.items():
            self.rows[user_id] = newest(self.rows.get(user_id, NOTHING), row)


@dataclass(frozen=True, slots=True)
class RaceSteps:
    """One person's way through: who decides, who sends, who writes. The three may be different processes' parts."""

    router: PreferenceComponents
    worker: PreferenceComponents
    writer: PreferenceComponents
    table: Table
    category: Category
    story: Observations
    user_id: str
    bucket: int
    without: Check | None = None

    async def choose(self, choosing: ChoiceEvent) -> None:
        """Choose, and note when that was acknowledged. The topic path is acknowledged when its batch is applied."""
        chosen = Chosen(choosing.opted_in, choosing.way, time.monotonic())
        self.story.choices.append(chosen)
        now = datetime.now(UTC)
        try:
            if choosing.way == "http":
                await self.writer.writer.put(self.user_id, self.bucket, CATEGORY, "push", choosing.opted_in, now)
            else:
                update = PreferenceUpdate(self.user_id, CATEGORY, "push", choosing.opted_in, now)
                applied = await self.writer.writer.apply_updates([(self.bucket, update)], now)
                asyncio.get_running_loop().call_later(self.table.lag_s, self.table.take, applied.rows)
                if not applied.deltas_written:
                    await asyncio.sleep(self.writer.bound.lease_s)
        except RetryLater:
            return
        chosen.acknowledged_at = time.monotonic()

    async def pass_through(self, passage: MessageEvent) -> None:
        """A trigger's whole life."""
        message = await self.decide()
        if message is None:
            return
        await asyncio.sleep(passage.queued_s)
        if await self.work(message, passage.claimed_s, "queued") and passage.retry_s is not None:
            await asyncio.sleep(passage.retry_s)
            await self.work(message, 0, "retried")
        if passage.replay_s is not None:
            await asyncio.sleep(passage.replay_s)
            await self.work(message, 0, "replayed")

    async def decide(self) -> ChannelMessage | None:
        """The router's part; None if the person's choice suppressed it."""
        checked_at, decided_at = time.monotonic(), datetime.now(UTC)
        try:
            if self.without == "decision":
                row = self.table.read([self.user_id])[0] or NOTHING
            else:
                (row,) = await self.router.decision.rows_for(self.bucket, [self.user_id])
        except RetryLater:
            self.story.put_off += 1
            return None
        if self.category.refusal("push", bits_of(row, self.category.number)) is not None:
            self.story.suppressions.append(Suppression(checked_at, time.monotonic(), "decided"))
            return None
        return ChannelMessage(
            "d", "push", "", "n", "t", self.user_id, CATEGORY, decided_at, preference_version=version_of(row)
        )

    async def work(self, message: ChannelMessage, claimed_s: float, stage: str) -> bool:
        """The worker's part: check, wait as claimed, check again if the first check is no longer good, and call; False if not sent."""
        for _ in range(_CHECKS):
            checked_at = time.monotonic()
            now = datetime.now(UTC)
            if self.without == "durable":
                message = msgspec.structs.replace(message, decided_at=now)
            try:
                allowance = await self.worker.provider.still_allowed(self.bucket, [message], now)
            except RetryLater:
                self.story.put_off += 1
                await asyncio.sleep(_PAUSE_S)
                continue
            young = (now - message.decided_at).total_seconds() < self.worker.bound.young_s
            if allowance.reasons[0] is not None and not (self.without == "delta" and young):
                self.story.suppressions.append(Suppression(checked_at, time.monotonic(), stage))
                return False
            await asyncio.sleep(claimed_s)
            claimed_s = 0
            if allowance.holds() or self.without == "recheck":
                self.story.calls.append(Call(checked_at, time.monotonic(), stage))
                return True
        self.story.put_off += 1
        return False
