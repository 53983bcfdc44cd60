"""Settles what an outcome means: an attempt, and when the next one is due.

The outcome is that of a call, or of none. `DeliveryEngine` has the flow to a call, `call_outcomes` makes the attempts. No I/O.
"""

from __future__ import annotations

import math
import random
import time
from typing import TYPE_CHECKING

from notify_streams.delivery import call_outcomes
from notify_streams.delivery.device_results import is_reached, remaining
from notify_streams.delivery.providers import ProviderOutcome, ProviderResult
from notify_streams.failpoints import failpoint
from notify_streams.records.channel_message import ChannelMessage, for_devices

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from notify_streams.delivery.admission import Admission
    from notify_streams.delivery.attempts import Attempt
    from notify_streams.delivery.collapse_keys import CollapseKeys
    from notify_streams.delivery.partition import Delivery
    from notify_streams.delivery.provider_order import ProviderOrder
    from notify_streams.delivery.retry_delay import RetryDelay
    from notify_streams.delivery.settle_loop import SettleLoop
    from notify_streams.records.outcomes import Reason
    from notify_streams.stores.shard_clocks import ShardClocks


class OutcomeSettling:
    """Settles how deliveries went, in the loop of their shard."""

    def __init__(
        self,
        loops: Sequence[SettleLoop],
        order: ProviderOrder,
        admission: Admission,
        clocks: ShardClocks,
        retry_delay: RetryDelay,
        collapse_keys: CollapseKeys,
        call_timeout_s: Callable[[str], float],
        stays: Callable[[Delivery, ProviderResult], bool],
        on_dead_address: Callable[[int, ChannelMessage, str, int], None],
        on_refused_address: Callable[[ChannelMessage, ProviderResult], None],
    ) -> None:
        """
        Args:
            loops: by shard.
            call_timeout_s: by the provider's name; so long a call to it may take.
            stays: see `ProviderCalls.stays`.
        """
        self._loops = loops
        self._order = order
        self._admission = admission
        self._clocks = clocks
        self._retry_delay = retry_delay
        self._collapse_keys = collapse_keys
        self._call_timeout_s = call_timeout_s
        self._stays = stays
        self._on_dead_address = on_dead_address
        self._on_refused_address = on_refused_address

    # -- Calls

    def call_ended(self, delivery: Delivery, result: ProviderResult) -> None:
        """Settle how a call ended, or the answer to a parked one."""
        if result.outcome is ProviderOutcome.ACCEPTED or is_reached(result):
            self._collapse_keys.sent(delivery)
        if result.devices is not None:
            for device in result.devices:
                if device.result.outcome is ProviderOutcome.DEAD_TOKEN:
                    self._report_dead(delivery, device.token)
        elif result.outcome is ProviderOutcome.DEAD_TOKEN:
            self._report_dead(delivery, delivery.message.to)
        if result.outcome in (ProviderOutcome.DEAD_TOKEN, ProviderOutcome.REJECTED):
            self._on_refused_address(delivery.message, result)
        if not delivery.parked:
            self._settle(delivery, result)
        elif result.outcome is not ProviderOutcome.RETRY or is_reached(result):
            _keep_remaining(delivery, result)
            self._loops[delivery.partition.shard].add_answer(delivery, call_outcomes.ended(delivery, result))

    def call_is_late(self, delivery: Delivery, waited_s: float) -> None:
        """Settle a call without an answer as retrying. Its answer, if it comes, ends the delivery."""
        timeout_s = self._call_timeout_s(self._order.named(delivery.provider).name)
        due_ms = self._due_ms(delivery, max(0.0, timeout_s - waited_s), None)
        self._add(delivery, call_outcomes.unanswered(delivery, waited_s), due_ms)
        failpoint("after_park")

    # -- Admitted, and not called

    def refused(self, delivery: Delivery, reason: Reason) -> None:
        """The check ends it."""
        self._add(delivery, call_outcomes.not_called(delivery, reason), None)
        self._admission.release(retry=delivery.entry is None, shard=delivery.partition.shard)

    def not_checked(self, delivery: Delivery) -> None:
        """Its address has its record on a shard that does not answer."""
        self._put_off(delivery, "address not checked", self._due_ms(delivery, 0.0, None))

    def category_paused(self, delivery: Delivery) -> None:
        """An operator has paused its category."""
        delay_ms = math.ceil(1000 * self._retry_delay.max_s * random.uniform(0.5, 1.0))
        due_ms = self._clocks.latest_ms(delivery.partition.shard) + delay_ms
        self._put_off(delivery, "category paused", _not_after_expiry(delivery, due_ms))

    # -- Attempts

    def _report_dead(self, delivery: Delivery, address: str) -> None:
        called_ms = int((time.time() - (time.monotonic() - delivery.began)) * 1000)
        self._on_dead_address(delivery.partition.number, delivery.message, address, called_ms)

    def _settle(self, delivery: Delivery, result: ProviderResult) -> None:
        is_retry = result.outcome is ProviderOutcome.RETRY
        _keep_remaining(delivery, result)
        due_ms = self._due_ms(delivery, 0.0, result) if is_retry else None
        self._add(delivery, call_outcomes.ended(delivery, result), due_ms)

    def _put_off(self, delivery: Delivery, why: str, due_ms: int) -> None:
        """Settle a delivery as retrying, without a call."""
        self._add(delivery, call_outcomes.put_off(delivery, why), due_ms)
        self._admission.release(retry=delivery.entry is None, shard=delivery.partition.shard)

    def _add(self, delivery: Delivery, attempt: Attempt, due_ms: int | None) -> None:
        self._loops[delivery.partition.shard].add(delivery, attempt, due_ms)

    def _due_ms(self, delivery: Delivery, after_s: float, result: ProviderResult | None) -> int:
        """When the next attempt is due by the shard's clock: `after_s` from now and the delay.

        At the latest when the message expires, which that attempt then finds. At once, if another provider may be called: this one has not
        taken the message, or its category accepts a duplicate.
        """
        from_ms = self._clocks.latest_ms(delivery.partition.shard) + math.ceil(after_s * 1000)
        if (
            result is not None
            and not self._stays(delivery, result)
            and self._order.promise_next(delivery.provider, time.monotonic())
        ):
            return from_ms
        delay_s = self._retry_delay.delay_s(
            delivery.number,
            random.random(),
            None if result is None else result.retry_after_s,
            throttled=result is not None and result.throttled,
        )
        return _not_after_expiry(delivery, from_ms + math.ceil(delay_s * 1000))


def _keep_remaining(delivery: Delivery, result: ProviderResult) -> None:
    """The timer keeps the message for the devices that the next attempt calls."""
    devices = delivery.message.devices
    if result.outcome is ProviderOutcome.RETRY and result.devices is not None and devices is not None:
        again = remaining(devices, result.devices)
        delivery.record = for_devices(delivery.message, again, reached=is_reached(result))


def _not_after_expiry(delivery: Delivery, due_ms: int) -> int:
    expires_at = delivery.message.expires_at
    return due_ms if expires_at is None else min(due_ms, int(expires_at.timestamp() * 1000) + 1)
