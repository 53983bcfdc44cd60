"""The attempts that the outcomes of calls stand for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from notify_streams.delivery.attempts import Attempt, Rank
from notify_streams.delivery.device_results import device_outcomes
from notify_streams.delivery.providers import ProviderOutcome
from notify_streams.records.masks import masked
from notify_streams.records.outcomes import Reason

if TYPE_CHECKING:
    from notify_streams.delivery.partition import Delivery
    from notify_streams.delivery.providers import ProviderResult
    from notify_streams.records.channel_message import ChannelMessage

#: The code of an attempt without a call.
DELIVERED_BEFORE: Final = "delivered before, says a receipt"
_FAILED: Final = {
    ProviderOutcome.REJECTED: Reason.PROVIDER_REJECTED,
    ProviderOutcome.DEAD_TOKEN: Reason.DEAD_TOKEN,
    ProviderOutcome.RENDERING: Reason.RENDERING,
    ProviderOutcome.TOO_LARGE: Reason.TOO_LARGE,
    ProviderOutcome.BAD_ADDRESS: Reason.BAD_ADDRESS,
}


def ended(delivery: Delivery, result: ProviderResult) -> Attempt:
    """A call that ended with `result` at the present time. It fails no delivery that an earlier attempt took to a device."""
    reason = None
    match result.outcome:
        case ProviderOutcome.RETRY:
            rank = Rank.RETRYING
        case ProviderOutcome.ACCEPTED:
            rank = Rank.SENT
        case _ if delivery.message.reached:
            rank = Rank.SENT
        case _:
            rank, reason = Rank.FAILED, _FAILED[result.outcome].value
    now_ms = int(time.time() * 1000)
    devices = result.devices
    return Attempt(
        rank,
        now_ms,
        reason,
        result.provider,
        result.provider_id,
        result.code or result.detail or None,
        delivery.in_doubt or result.maybe_accepted,
        result.segments,
        delivery.template_version,
        None if devices is None else device_outcomes(devices),
        int((time.monotonic() - delivery.began) * 1000) if result.begun else None,
        _waited_ms(delivery, now_ms),
        masked(delivery.message.channel, delivery.message.to) if result.begun and devices is None else None,
        delivery.in_doubt and result.begun,
        delivery.replay,
    )


def unanswered(delivery: Delivery, waited_s: float) -> Attempt:
    """A call that has taken `waited_s` and has no answer yet."""
    message, now_ms = delivery.message, int(time.time() * 1000)
    return Attempt(
        Rank.RETRYING,
        now_ms,
        None,
        delivery.provider,
        None,
        "no answer yet",
        in_doubt=True,
        template_version=delivery.template_version,
        took_ms=int(waited_s * 1000),
        since_published_ms=_waited_ms(delivery, now_ms),
        to=None if message.devices is not None else masked(message.channel, message.to),
        possible_duplicate=delivery.in_doubt,
        replay=delivery.replay,
    )


def not_called(delivery: Delivery, reason: Reason) -> Attempt:
    """A delivery that ends without a call: sent if an earlier attempt took it to a device, and then `reason` is the code."""
    now_ms = int(time.time() * 1000)
    rank, why, code = ended_without_call(delivery.message, reason)
    return Attempt(
        rank, now_ms, why, code=code, in_doubt=delivery.in_doubt, since_published_ms=_waited_ms(delivery, now_ms)
    )


def ended_without_call(message: ChannelMessage, reason: Reason) -> tuple[Rank, str | None, str | None]:
    """Rank, reason and code of the attempt that ends a delivery without a call."""
    if message.reached:
        return Rank.SENT, None, reason.value
    return Rank.EXPIRED if reason is Reason.EXPIRED else Rank.SUPPRESSED, reason.value, None


def delivered_before() -> Attempt:
    """The end of a delivery of which a receipt says that an earlier call delivered it, so it is not called again."""
    return Attempt(Rank.SENT, int(time.time() * 1000), code=DELIVERED_BEFORE)


def put_off(delivery: Delivery, why: str) -> Attempt:
    """A delivery that waits without a call, for example of a paused category."""
    return Attempt(Rank.RETRYING, int(time.time() * 1000), code=why, in_doubt=delivery.in_doubt)


def _waited_ms(delivery: Delivery, now_ms: int) -> int | None:
    """Since Kafka took the message, whose clock may be ahead; None for an attempt of a timer."""
    return None if delivery.published_ms is None else max(0, now_ms - delivery.published_ms)
