"""The steps of a message in the race: real checks with scheduled waits."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from devtools.race.invariants import Call, ObservedChoice, Suppression
from notify_streams.errors import RetryLater
from notify_streams.preferences.row_codec import EMPTY_ROW, choice_in, newer_row, version_of
from notify_streams.records.channel_message import ChannelMessage
from notify_streams.records.choice_sources import ChoiceSource
from notify_streams.records.user_records import PreferenceUpdate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from devtools.race.invariants import Observations
    from devtools.race.schedule import ChoiceEvent, MessageSchedule
    from notify_streams.preferences.categories import Category
    from notify_streams.preferences.decision_check import DecisionCheck
    from notify_streams.preferences.service import PreferenceService

#: A check that tests leave out, to see that the race then finds a violation.
Check = Literal["decision", "delta", "durable", "recheck", "lease"]

#: Its pushes are sent unless the user opted out.
CATEGORY: Final = "marketing"
_PAUSE_S: Final = 0.05
#: After so many checks whose permission expired before the call, the worker does not send.
_MAX_CHECKS: Final = 50


@dataclass(slots=True)
class Table:
    """A router's table, `lag_s` behind the topic."""

    lag_s: float
    rows: dict[str, bytes] = field(default_factory=dict)

    def read(self, bucket: int, user_ids: Sequence[bytes]) -> list[bytes | None]:
        return [self.rows.get(user_id.decode()) for user_id in user_ids]

    def apply(self, rows: Mapping[str, bytes]) -> None:
        for user_id, row in rows.items():
            self.rows[user_id] = newer_row(self.rows.get(user_id, EMPTY_ROW), row)


@dataclass(frozen=True, slots=True)
class RaceSteps:
    """The steps for one user. Decision check, worker and writer may belong to different processes."""

    decision_check: DecisionCheck
    worker: PreferenceService
    writer: PreferenceService
    table: Table
    category: Category
    observations: Observations
    user_id: str
    bucket: int
    without: Check | None = None

    async def choose(self, event: ChoiceEvent) -> None:
        """Make a choice and note when it was acknowledged: on the topic path, when its batch is applied."""
        choice = ObservedChoice(event.opted_in, event.path, time.monotonic())
        self.observations.choices.append(choice)
        now = datetime.now(UTC)
        try:
            if event.path == "http":
                await self.writer.writer.put(
                    self.user_id, self.bucket, CATEGORY, "push", event.opted_in, now, ChoiceSource.API
                )
            else:
                update = PreferenceUpdate(self.user_id, CATEGORY, "push", event.opted_in, now)
                applied = await self.writer.writer.apply_updates([(self.bucket, update)])
                asyncio.get_running_loop().call_later(self.table.lag_s, self.table.apply, applied.rows)
                if not applied.deltas_written:
                    await asyncio.sleep(self.writer.bound.lease_s)
        except RetryLater:
            return
        choice.acknowledged_at = time.monotonic()

    async def process(self, schedule: MessageSchedule) -> None:
        """A trigger from the decision to the last call."""
        message = await self.decide()
        if message is None:
            return
        await asyncio.sleep(schedule.queued_s)
        if await self.work(message, schedule.claimed_s, "queued") and schedule.retry_s is not None:
            await asyncio.sleep(schedule.retry_s)
            await self.work(message, 0, "retried")
        if schedule.replay_s is not None:
            await asyncio.sleep(schedule.replay_s)
            await self.work(message, 0, "replayed")

    async def decide(self) -> ChannelMessage | None:
        """The router's step; None if the user's choice suppressed the message, or the check failed."""
        checked_at, decided_at = time.monotonic(), datetime.now(UTC)
        try:
            if self.without == "decision":
                row = self.table.read(self.bucket, [self.user_id.encode()])[0] or EMPTY_ROW
            else:
                (row,) = await self.decision_check.rows_for(self.bucket, [self.user_id])
        except RetryLater:
            self.observations.failed_checks += 1
            return None
        if self.category.refusal("push", choice_in(row, self.category.number, "push")) is not None:
            self.observations.suppressions.append(Suppression(checked_at, time.monotonic(), "decided"))
            return None
        return ChannelMessage(
            "d", "push", "", "n", "t", self.user_id, CATEGORY, decided_at, preference_version=version_of(row)
        )

    async def work(self, message: ChannelMessage, claimed_s: float, step: str) -> bool:
        """The worker's step: check, wait `claimed_s`, check again if the permission has expired, call; False if not sent."""
        for _ in range(_MAX_CHECKS):
            checked_at = time.monotonic()
            now = datetime.now(UTC)
            if self.without == "durable":
                message = msgspec.structs.replace(message, decided_at=now)
            try:
                permission = await self.worker.provider_check.still_allowed(self.bucket, [message], now)
            except RetryLater:
                self.observations.failed_checks += 1
                await asyncio.sleep(_PAUSE_S)
                continue
            young = (now - message.decided_at).total_seconds() < self.worker.bound.young_s
            if permission.reasons[0] is not None and not (self.without == "delta" and young):
                self.observations.suppressions.append(Suppression(checked_at, time.monotonic(), step))
                return False
            await asyncio.sleep(claimed_s)
            claimed_s = 0
            if permission.holds() or self.without == "recheck":
                self.observations.calls.append(Call(checked_at, time.monotonic(), step))
                return True
        self.observations.failed_checks += 1
        return False
