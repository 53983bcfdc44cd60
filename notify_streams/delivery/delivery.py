"""Delivers channel messages: claim, check, call the provider, write the state.

When `deliver` returns, each message of the batch has a durable state and the batch may be acknowledged. After a crash the partition's
next owner marks the calls of abandoned claims as possible duplicates.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from notify_streams import metrics
from notify_streams.delivery.claims import DeliveryEnd, new_token
from notify_streams.delivery.providers import Outgoing, ProviderOutcome, ProviderResult, unsendable
from notify_streams.delivery.rendering import data_of, text_of
from notify_streams.failpoints import failpoint
from notify_streams.records.channel_message import ChannelMessage, read_channel_message
from notify_streams.records.outcomes import DeliveryState, Reason
from notify_streams.retry import STORE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.delivery.claims import Claim, Claims
    from notify_streams.delivery.providers import Provider
    from notify_streams.preferences.categories import Categories
    from notify_streams.preferences.provider_check import SendPermission
    from notify_streams.records.batch import Batch
    from notify_streams.roles import Channel

log = logging.getLogger(__name__)

_ATTEMPTS: Final = 4
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0
#: Limits the delay that a provider asks for, because it delays the rest of the batch.
_LONGEST_RETRY_AFTER_S: Final = 10.0
#: A call that would begin later than this after its claim was verified needs another verification: a worker that was paused for longer
#: may have lost its partition. Shorter than the shortest session timeout, before which no other worker can replace the claim.
_CLAIM_GOOD_S: Final = 1.0

_CLAIM: Final = STORE.named("delivery.claim")
_VERIFY: Final = STORE.named("delivery.verify")
_CHECK: Final = STORE.named("delivery.check")
_END: Final = STORE.named("delivery.end")


class SendCheck(Protocol):
    """The check before the provider call (`preferences.provider_check.ProviderCheck`)."""

    async def still_allowed(self, bucket: int, messages: Sequence[ChannelMessage], now: datetime) -> SendPermission: ...


@dataclass(slots=True)
class _ClaimedDelivery:
    """One claimed delivery that has not ended."""

    message: ChannelMessage
    claim: Claim
    #: Calls that reached the provider.
    tries: int = 0
    #: Failed calls, including those that did not reach the provider.
    failures: int = 0
    #: The earliest time for the next call, on the monotonic clock.
    not_before: float = 0.0

    @property
    def notification_id(self) -> str:
        return self.message.notification_id

    @property
    def attempts(self) -> int:
        """The number of attempts to store. A claim counts as one attempt, even without a call."""
        return self.claim.attempt + max(0, self.tries - 1)

    def postpone(self, result: ProviderResult) -> None:
        """Set the time of the next call: exponential backoff, or the provider's `Retry-After` if that is longer."""
        pause_s = min(_FIRST_PAUSE_S * 2**self.failures, _LONGEST_PAUSE_S)
        self.failures = min(self.failures + 1, 30)
        self.not_before = time.monotonic() + max(pause_s, min(result.retry_after_s or 0.0, _LONGEST_RETRY_AFTER_S))
        if result.maybe_accepted:
            self.claim = replace(self.claim, possible_duplicate=True)


class DeliveryWorker:
    """Delivers the messages of one channel topic."""

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
        """Close the provider's connections. Calls that fail from now on are cancelled: another worker reads their messages again."""
        self._closed = True
        await self._provider.close()

    async def deliver(self, batch: Batch) -> None:
        """End each delivery of the batch. Retries without limit while MongoDB or the check does not respond."""
        messages = _messages(batch, self._claims.channel)
        if not messages:
            return
        claimed_at = time.monotonic()
        claimed = await _CLAIM.call(self._claims.claim, batch.partition, list(messages), new_token(), _now())
        if claimed.unknown:
            # The outbox writes a message with its notification in one transaction, so these have another source.
            metrics.REJECTED_RECORDS.labels(batch.topic, "unknown_notification").inc(len(claimed.unknown))
            log.error(
                "messages without a notification rejected",
                extra={
                    "action": "message.unknown",
                    "count": len(claimed.unknown),
                    "notification_id": min(claimed.unknown),
                },
            )
        jobs = [_ClaimedDelivery(messages[key], claim) for key, claim in claimed.mine.items()]
        await self._deliver_claimed(batch.partition, jobs, claimed_at + _CLAIM_GOOD_S)

    async def _deliver_claimed(self, bucket: int, jobs: list[_ClaimedDelivery], mine_until: float) -> None:
        """Repeat rounds until each delivery has ended. A round's ends are written first, so a crash repeats one round at most."""
        while jobs:
            now = time.monotonic()
            due = [job for job in jobs if job.not_before <= now]
            if not due:
                await asyncio.sleep(min(job.not_before for job in jobs) - now)
                continue
            if now >= mine_until:
                mine_until = now + _CLAIM_GOOD_S
                mine = await _VERIFY.call(
                    self._claims.verify_claims, bucket, {job.notification_id: job.claim for job in jobs}
                )
                jobs = [job for job in jobs if job.notification_id in mine]
                continue
            ended = await self._round(bucket, due, mine_until)
            await self._end(bucket, ended)
            done = {one.notification_id for one in ended}
            jobs = [job for job in jobs if job.notification_id not in done]

    async def _round(self, bucket: int, jobs: Sequence[_ClaimedDelivery], mine_until: float) -> list[DeliveryEnd]:
        """Check all, call the provider for those that are allowed, and return the ends. The others need another round."""
        permission = await _CHECK.call(self._permission, bucket, [job.message for job in jobs])
        checked = list(zip(jobs, permission.reasons, strict=True))
        suppressed = [_suppressed(job, reason) for job, reason in checked if reason is not None]
        allowed = [job for job, reason in checked if reason is None]
        until = min(permission.good_until, mine_until)
        results = await asyncio.gather(*(self._send(job, until) for job in allowed))
        called = [_end_after(job, result) for job, result in zip(allowed, results, strict=True) if result is not None]
        return suppressed + [one for one in called if one is not None]

    async def _end(self, bucket: int, ended: Sequence[DeliveryEnd]) -> None:
        await _END.call(self._claims.end, bucket, ended, _now())
        for one in ended:
            metrics.DELIVERIES.labels(self._claims.channel, one.state.value, one.reason or "").inc()

    async def _permission(self, bucket: int, messages: Sequence[ChannelMessage]) -> SendPermission:
        return await self._check.still_allowed(bucket, messages, _now())

    async def _send(self, job: _ClaimedDelivery, until: float) -> ProviderResult | None:
        """One call; None if it would begin at `until` or later, when check and claim are no longer valid."""
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
                # The call failed because the worker stops. Counting it would let messages fail at each rolling restart.
                raise asyncio.CancelledError
            metrics.PROVIDER_CALL.labels(result.provider).observe(time.perf_counter() - began)
            failpoint("after_provider")
            return result

    async def _call(self, outgoing: Outgoing) -> ProviderResult:
        try:
            return await self._provider.send(outgoing)
        except Exception as error:  # a defect must not stop the partition; the error's text may contain a contact
            log.error(
                "provider client failed, the call will be retried",
                extra={"action": "provider.defect", "delivery_id": outgoing.delivery_id, "error": type(error).__name__},
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
            return unsendable(self._provider.name, ProviderOutcome.RENDERING, "`data` is not a JSON object")
        text = text_of(message, self._categories, data)
        if text is None:
            return unsendable(self._provider.name, ProviderOutcome.RENDERING, "the category has no such template")
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


def _messages(batch: Batch, channel: Channel) -> dict[str, ChannelMessage]:
    """The batch's messages for `channel` by notification id, which removes duplicates."""
    messages: dict[str, ChannelMessage] = {}
    for record in batch.records:
        try:
            message = read_channel_message(record.value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            metrics.REJECTED_RECORDS.labels(batch.topic, "invalid").inc()
            log.error(
                "invalid channel message rejected",
                extra={"action": "message.invalid", "offset": record.offset, "error": error},
            )
            continue
        if message.channel != channel:
            metrics.REJECTED_RECORDS.labels(batch.topic, "other_channel").inc()
            log.error(
                "message for another channel rejected", extra={"action": "message.misrouted", "offset": record.offset}
            )
            continue
        messages[message.notification_id] = message
    return messages


def _suppressed(job: _ClaimedDelivery, reason: Reason) -> DeliveryEnd:
    state = DeliveryState.EXPIRED if reason is Reason.EXPIRED else DeliveryState.SUPPRESSED
    return DeliveryEnd(job.notification_id, job.claim.token, state, job.attempts, reason.value)


def _end_after(job: _ClaimedDelivery, result: ProviderResult) -> DeliveryEnd | None:
    """The end that a call's result leads to; None if the call is to be repeated, not before `job.not_before`."""
    job.tries += result.begun
    state, reason = DeliveryState.FAILED, None
    match result.outcome:
        case ProviderOutcome.ACCEPTED:
            state = DeliveryState.SENT
        case ProviderOutcome.REJECTED:
            reason = Reason.PROVIDER_REJECTED.value
        case (
            ProviderOutcome.DEAD_TOKEN
            | ProviderOutcome.RENDERING
            | ProviderOutcome.TOO_LARGE
            | ProviderOutcome.BAD_ADDRESS
        ):
            reason = Reason(result.outcome).value
        case ProviderOutcome.RETRY if job.tries >= _ATTEMPTS:
            reason = Reason.PROVIDER_EXHAUSTED.value
        case _:
            job.postpone(result)
            return None
    return DeliveryEnd(
        job.notification_id, job.claim.token, state, job.attempts, reason, result.provider, result.provider_id
    )


def _now() -> datetime:
    return datetime.now(UTC)
