"""A batch of channel messages in; each claimed, checked, sent and ended, or left to whoever claimed it.

When `deliver` returns, every message of the batch has a durable state and the batch may be acknowledged. On a crash the new owner finds
what was claimed and marks its calls as possible duplicates; everything else is as if it had never been read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from notify_streams import metrics
from notify_streams.channels.claims import Claim, Ended
from notify_streams.channels.providers import Outcome, Outgoing, Result
from notify_streams.channels.text import data_of, text_of
from notify_streams.failpoints import reach
from notify_streams.records.channel_message import ChannelMessage, read_channel_message
from notify_streams.records.reasons import Reason, State
from notify_streams.stores.insist import insist

if TYPE_CHECKING:
    from notify_streams.channels.claims import Claims
    from notify_streams.channels.providers import Provider
    from notify_streams.preferences.policy import Categories
    from notify_streams.routing.router import Batch

log = logging.getLogger(__name__)

_ATTEMPTS: Final = 4
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0
#: A provider that asks for more patience than this gets no more: others wait in the same batch.
_LONGEST_WAIT_S: Final = 10.0
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


class Delivery:
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

    async def deliver(self, batch: Batch) -> None:
        """End every message of the batch. Waits, for as long as it takes, for a database that does not answer."""
        messages = _messages(batch)
        if not messages:
            return
        claimed = await insist(self._claims.take, batch.partition, list(messages), _now())
        work = {identity: messages[identity] for identity in claimed}
        ended = await self._send_all(batch.partition, work, claimed)
        await insist(self._claims.end, batch.partition, ended, _now())
        for one in ended:
            channel = messages[one.notification_id].channel
            metrics.DELIVERIES.labels(channel, one.state.value, one.reason or "").inc()

    async def _send_all(self, bucket: int, work: dict[str, ChannelMessage], claimed: dict[str, Claim]) -> list[Ended]:
        ended: list[Ended] = []
        pause_s = _FIRST_PAUSE_S
        tries = dict.fromkeys(work, 0)
        while work:
            identities = list(work)
            verdicts = await insist(self._ask, bucket, [work[one] for one in identities])
            for identity, reason in zip(identities, verdicts.reasons, strict=True):
                if reason is not None:
                    ended.append(_refused(identity, claimed[identity], reason))
                    del work[identity]
            sent = await asyncio.gather(
                *(self._send(work[one], claimed[one], tries[one], verdicts.good_until) for one in work)
            )
            late = False
            asked_s = 0.0
            for identity, result in zip(list(work), sent, strict=True):
                if result is None:
                    late = True
                    continue
                tries[identity] += result.begun
                asked_s = max(asked_s, result.retry_after_s or 0.0)
                outcome = _ended(identity, claimed[identity], result, tries[identity])
                if outcome is not None:
                    ended.append(outcome)
                    del work[identity]
                elif result.maybe_accepted:
                    claimed[identity] = Claim(claimed[identity].token, claimed[identity].attempt + 1, True)
            if work and not late:
                await asyncio.sleep(max(pause_s, min(asked_s, _LONGEST_WAIT_S)))
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            if work:
                mine = await insist(self._claims.still_mine, bucket, {one: claimed[one] for one in work})
                work = {identity: message for identity, message in work.items() if identity in mine}
        return ended

    async def _ask(self, bucket: int, messages: Sequence[ChannelMessage]) -> Verdicts:
        return await self._check.still_allowed(bucket, messages, _now())

    async def _send(self, message: ChannelMessage, claim: Claim, tries: int, good_until: float) -> Result | None:
        """One call, or None if it would begin later than the check allows."""
        async with self._slots:
            outgoing = self._outgoing(message, claim, tries)
            if isinstance(outgoing, Result):
                return outgoing
            if time.monotonic() > good_until:
                return None
            reach("before_provider")
            began = time.perf_counter()
            result = await self._provider.send(outgoing)
            metrics.PROVIDER_CALL.labels(result.provider).observe(time.perf_counter() - began)
            reach("after_provider")
            return result

    def _outgoing(self, message: ChannelMessage, claim: Claim, tries: int) -> Outgoing | Result:
        text = text_of(message, self._categories)
        if text is None:
            detail = f"category {message.category!r} has no template {message.template!r}"
            return Result(outcome=Outcome.REJECTED, provider=self._provider.name, detail=detail, code="no_template")
        metrics.TO_PROVIDER.labels(self._lane).observe((_now() - message.decided_at).total_seconds())
        return Outgoing(
            delivery_id=message.delivery_id,
            notification_id=message.notification_id,
            channel=message.channel,
            to=message.to,
            title=text.title,
            body=text.body,
            attempt=claim.attempt + tries,
            possible_duplicate=claim.possible_duplicate,
            critical=message.critical,
            collapse_key=message.collapse_key,
            expires_at_ms=None if message.expires_at is None else int(message.expires_at.timestamp() * 1000),
            data=data_of(message),
            decided_at_ms=int(message.decided_at.timestamp() * 1000),
        )


def _messages(batch: Batch) -> dict[str, ChannelMessage]:
    """The batch's messages by notification id: a message that stands there twice is one."""
    messages: dict[str, ChannelMessage] = {}
    for record in batch.records:
        try:
            message = read_channel_message(record.value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            # Only the outbox writes here. Somebody else's bytes are nobody's notification: say so and go on.
            metrics.REJECTED_RECORDS.labels(batch.topic, "invalid").inc()
            log.error(
                "not a channel message", extra={"action": "deliver", "offset": record.offset, "error": str(error)}
            )
            continue
        messages[message.notification_id] = message
    return messages


def _refused(identity: str, claim: Claim, reason: Reason) -> Ended:
    return Ended(identity, claim.token, State.EXPIRED if reason in _EXPIRED else State.SUPPRESSED, reason.value)


def _ended(identity: str, claim: Claim, result: Result, tries: int) -> Ended | None:
    """What a call's result means for the delivery; None: try again."""
    match result.outcome:
        case Outcome.ACCEPTED:
            return Ended(identity, claim.token, State.SENT, None, result.provider, result.provider_id)
        case Outcome.REJECTED:
            return Ended(identity, claim.token, State.FAILED, Reason.PROVIDER_REJECTED.value, result.provider)
        case Outcome.DEAD_TOKEN:
            return Ended(identity, claim.token, State.FAILED, Reason.DEAD_TOKEN.value, result.provider)
        case Outcome.RETRY if tries >= _ATTEMPTS:
            return Ended(identity, claim.token, State.FAILED, Reason.PROVIDER_EXHAUSTED.value, result.provider)
    return None


def _now() -> datetime:
    return datetime.now(UTC)
