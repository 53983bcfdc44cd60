"""A batch of channel messages in; each claimed, checked, sent and ended, or left to whoever claimed it.

When `deliver` returns, every message of the batch has a durable state and the batch may be acknowledged. On a crash the new owner finds
what was claimed and marks its calls as possible duplicates; everything else is as if it had never been read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from notify_streams import metrics
from notify_streams.delivery.claims import DeliveryEnd, new_token
from notify_streams.delivery.providers import Outgoing, ProviderOutcome, ProviderResult
from notify_streams.delivery.rendering import data_of, text_of
from notify_streams.failpoints import failpoint
from notify_streams.records.channel_message import ChannelMessage, read_channel_message
from notify_streams.records.outcomes import DeliveryState, Reason
from notify_streams.retry import STORE

if TYPE_CHECKING:
    from notify_streams.delivery.claims import Claim, Claims
    from notify_streams.delivery.providers import Provider
    from notify_streams.preferences.categories import Categories
    from notify_streams.records.batch import Batch
    from notify_streams.roles import Channel

log = logging.getLogger(__name__)

_ATTEMPTS: Final = 4
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0
#: A provider that asks for more patience than this gets no more: others wait in the same batch.
_LONGEST_WAIT_S: Final = 10.0
#: A call that begins later than this after its claim was looked at needs another look. A worker that was paused for longer may have
#: lost its partition; below the shortest session timeout, because nobody takes a claim over earlier than that.
_CLAIM_GOOD_S: Final = 1.0
_EXPIRED: Final = frozenset({Reason.EXPIRED})


class Verdicts(Protocol):
    """For each message why it may not be sent, or None; and until when (monotonic seconds) a call may begin on it."""

    @property
    def reasons(self) -> Sequence[Reason | None]: ...
    @property
    def good_until(self) -> float: ...


class SendCheck(Protocol):
    """The check before the provider call."""

    async def still_allowed(self, bucket: int, messages: Sequence[ChannelMessage], now: datetime) -> Verdicts: ...


@dataclass(slots=True)
class _ClaimedDelivery:
    """One claimed delivery on its way."""

    message: ChannelMessage
    claim: Claim
    #: Calls that were begun.
    tries: int = 0
    #: The same, and those that never came to be.
    failures: int = 0
    #: Monotonic seconds.
    not_before: float = 0.0

    @property
    def identity(self) -> str:
        return self.message.notification_id

    @property
    def attempts(self) -> int:
        """For the database: the claim is the first one, whatever came of it."""
        return self.claim.attempt + max(0, self.tries - 1)

    def rest(self, result: ProviderResult) -> None:
        """Until the next try: longer each time, and as long as the provider asks for, within reason."""
        pause_s = min(_FIRST_PAUSE_S * 2**self.failures, _LONGEST_PAUSE_S)
        self.failures = min(self.failures + 1, 30)
        self.not_before = time.monotonic() + max(pause_s, min(result.retry_after_s or 0.0, _LONGEST_WAIT_S))
        if result.maybe_accepted:
            self.claim = replace(self.claim, possible_duplicate=True)


class DeliveryWorker:
    """Works one channel topic."""

    def __init__(
        self,
        claims: Claims,
        check: SendCheck,
        provider: Provider,
        categories: Categories,
        lane: str,
    ) -> None:
        self._claims = claims
        self._check = check
        self._provider = provider
        self._categories = categories
        self._slots = asyncio.Semaphore(provider.max_in_flight)
        self._lane = lane
        self._closed = False

    async def close(self) -> None:
        """Hang up. A call that is still tried then is given up without an end: its message comes again, to another worker."""
        self._closed = True
        await self._provider.close()

    async def deliver(self, batch: Batch) -> None:
        """End every message of the batch. Waits, for as long as it takes, for a database that does not answer."""
        messages = _messages(batch, self._claims.channel)
        if not messages:
            return
        claimed_at = time.monotonic()
        claimed = await STORE.call(self._claims.take, batch.partition, list(messages), new_token(), _now())
        if claimed.unknown:
            # No message without its row: whatever wrote these, they are nobody's notification here.
            metrics.REJECTED_RECORDS.labels(batch.topic, "unknown_notification").inc(len(claimed.unknown))
            log.error(
                "messages without a notification",
                extra={"action": "deliver", "count": len(claimed.unknown), "example": min(claimed.unknown)},
            )
        jobs = [_ClaimedDelivery(messages[identity], claim) for identity, claim in claimed.mine.items()]
        await self._work_off(batch.partition, jobs, claimed_at + _CLAIM_GOOD_S)

    async def _work_off(self, bucket: int, jobs: list[_ClaimedDelivery], mine_until: float) -> None:
        """Call until every delivery has ended. Each round's ends are written before the next: a crash doubles no more than that."""
        while jobs:
            now = time.monotonic()
            due = [job for job in jobs if job.not_before <= now]
            if not due:
                await asyncio.sleep(min(job.not_before for job in jobs) - now)
                continue
            if now >= mine_until:
                mine_until = now + _CLAIM_GOOD_S
                mine = await STORE.call(self._claims.still_mine, bucket, {job.identity: job.claim for job in jobs})
                jobs = [job for job in jobs if job.identity in mine]
                continue
            ended = await self._round(bucket, due, mine_until)
            await self._end(bucket, ended)
            gone = {one.notification_id for one in ended}
            jobs = [job for job in jobs if job.identity not in gone]

    async def _round(self, bucket: int, jobs: Sequence[_ClaimedDelivery], mine_until: float) -> list[DeliveryEnd]:
        """Ask for each whether it may be sent, and send those; what is in none of the answers needs another round."""
        verdicts = await STORE.call(self._ask, bucket, [job.message for job in jobs])
        refused = [
            _refused(job, reason) for job, reason in zip(jobs, verdicts.reasons, strict=True) if reason is not None
        ]
        allowed = [job for job, reason in zip(jobs, verdicts.reasons, strict=True) if reason is None]
        until = min(verdicts.good_until, mine_until)
        results = await asyncio.gather(*(self._send(job, until) for job in allowed))
        called = [_after(job, result) for job, result in zip(allowed, results, strict=True) if result is not None]
        return refused + [one for one in called if one is not None]

    async def _end(self, bucket: int, ended: Sequence[DeliveryEnd]) -> None:
        await STORE.call(self._claims.end, bucket, ended, _now())
        for one in ended:
            metrics.DELIVERIES.labels(self._claims.channel, one.state.value, one.reason or "").inc()

    async def _ask(self, bucket: int, messages: Sequence[ChannelMessage]) -> Verdicts:
        return await self._check.still_allowed(bucket, messages, _now())

    async def _send(self, job: _ClaimedDelivery, until: float) -> ProviderResult | None:
        """One call, or None if it would begin at `until` or later: then check and claim must be looked at again."""
        message = job.message
        async with self._slots:
            if time.monotonic() >= until:
                return None
            outgoing = self._outgoing(job)
            if isinstance(outgoing, ProviderResult):
                return outgoing
            failpoint("before_provider")
            metrics.TO_PROVIDER.labels(self._lane).observe((_now() - message.decided_at).total_seconds())
            began = time.perf_counter()
            result = await self._call(outgoing)
            if self._closed and result.outcome is ProviderOutcome.RETRY:
                # It failed because this worker ends: to count such tries would fail messages at every roll.
                raise asyncio.CancelledError
            metrics.PROVIDER_CALL.labels(result.provider).observe(time.perf_counter() - began)
            failpoint("after_provider")
            return result

    async def _call(self, outgoing: Outgoing) -> ProviderResult:
        try:
            return await self._provider.send(outgoing)
        except Exception as error:  # a defect of the client's must not stop the partition; its text may name a contact
            log.error(
                "a provider's client failed",
                extra={"action": "deliver", "delivery_id": outgoing.delivery_id, "error": type(error).__name__},
            )
            return ProviderResult(
                outcome=ProviderOutcome.RETRY,
                provider=self._provider.name,
                detail=type(error).__name__,
                maybe_accepted=True,
            )

    def _outgoing(self, job: _ClaimedDelivery) -> Outgoing | ProviderResult:
        message = job.message
        try:
            data = data_of(message)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._unsendable("the data is no JSON object", "data")
        text = text_of(message, self._categories, data)
        if text is None:
            return self._unsendable(
                f"category {message.category!r} has no template {message.template!r}", "no_template"
            )
        return Outgoing(
            delivery_id=message.delivery_id,
            notification_id=message.notification_id,
            channel=message.channel,
            to=message.to,
            title=text.title,
            body=text.body,
            attempt=job.claim.attempt + job.tries,
            possible_duplicate=job.claim.possible_duplicate,
            critical=message.critical,
            collapse_key=message.collapse_key,
            expires_at_ms=None if message.expires_at is None else int(message.expires_at.timestamp() * 1000),
            data=data,
            decided_at_ms=int(message.decided_at.timestamp() * 1000),
        )

    def _unsendable(self, detail: str, code: str) -> ProviderResult:
        log.error("a message cannot be sent", extra={"action": "deliver", "detail": detail})
        return ProviderResult(
            outcome=ProviderOutcome.REJECTED, provider=self._provider.name, detail=detail, code=code, begun=False
        )


def _messages(batch: Batch, channel: Channel) -> dict[str, ChannelMessage]:
    """The batch's messages for `channel` by notification id: a message that stands there twice is one."""
    messages: dict[str, ChannelMessage] = {}
    for record in batch.records:
        try:
            message = read_channel_message(record.value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            # Only the outbox writes here. Somebody else's bytes are nobody's notification: say so and go on.
            metrics.REJECTED_RECORDS.labels(batch.topic, "invalid").inc()
            log.error(
                "not a channel message", extra={"action": "deliver", "offset": record.offset, "error": str(error)}
            )
            continue
        if message.channel != channel:
            metrics.REJECTED_RECORDS.labels(batch.topic, "other_channel").inc()
            log.error("a message for another channel", extra={"action": "deliver", "offset": record.offset})
            continue
        messages[message.notification_id] = message
    return messages


def _refused(job: _ClaimedDelivery, reason: Reason) -> DeliveryEnd:
    state = DeliveryState.EXPIRED if reason in _EXPIRED else DeliveryState.SUPPRESSED
    return DeliveryEnd(job.identity, job.claim.token, state, job.attempts, reason.value)


def _after(job: _ClaimedDelivery, result: ProviderResult) -> DeliveryEnd | None:
    """What a call's result means for the delivery; None: try again, not before the job says."""
    job.tries += result.begun
    state, reason = DeliveryState.FAILED, None
    match result.outcome:
        case ProviderOutcome.ACCEPTED:
            state = DeliveryState.SENT
        case ProviderOutcome.REJECTED:
            reason = Reason.PROVIDER_REJECTED.value
        case ProviderOutcome.DEAD_TOKEN:
            reason = Reason.DEAD_TOKEN.value
        case ProviderOutcome.RETRY if job.tries >= _ATTEMPTS:
            reason = Reason.PROVIDER_EXHAUSTED.value
        case _:
            job.rest(result)
            return None
    return DeliveryEnd(job.identity, job.claim.token, state, job.attempts, reason, result.provider, result.provider_id)


def _now() -> datetime:
    return datetime.now(UTC)
