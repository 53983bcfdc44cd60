"""The calls of one worker to its providers: waiting, under way, without an answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from contextlib import suppress
from itertools import chain
from math import inf
from traceback import extract_tb
from typing import TYPE_CHECKING, Final, Protocol

from notify_streams import metrics, tasks
from notify_streams.delivery.answer_counts import AnswerCounts
from notify_streams.delivery.breaker import LATE_AFTER_S
from notify_streams.delivery.device_results import is_reached, merged
from notify_streams.delivery.outgoing_messages import OutgoingMessages
from notify_streams.delivery.pauses import PausedCategories
from notify_streams.delivery.provider_states import ProviderStates
from notify_streams.delivery.providers import DeviceResult, Outgoing, ProviderOutcome, ProviderResult
from notify_streams.delivery.suspensions import Suspensions
from notify_streams.errors import RetryLater
from notify_streams.failpoints import failpoint
from notify_streams.preferences.categories import OnDoubt
from notify_streams.tracing.trace_context import trace_fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from notify_streams.delivery.admission import Admission
    from notify_streams.delivery.mail_links import MailLinks
    from notify_streams.delivery.partition import Delivery, Partition
    from notify_streams.delivery.pauses import ProviderPauses
    from notify_streams.delivery.provider_order import CalledProvider, ProviderOrder
    from notify_streams.delivery.provider_state import ProviderState
    from notify_streams.preferences.categories import Categories
    from notify_streams.roles import Channel, Lane
    from notify_streams.templates.catalog import Templates

log = logging.getLogger(__name__)

#: No call begins later than this after the read or write began that proved the worker's token.
_TOKEN_GOOD_S: Final = 1.0
#: A call without an answer for this long is settled as retrying; its partition goes on.
_PARK_AFTER_S: Final = 1.0
#: As `LATE_AFTER_S`, of a mail server that has taken everything but the content: many scan a mail for some seconds before they reply.
_CONTENT_LATE_AFTER_S: Final = 10.0
_TICK_S: Final = 0.1
#: A tick that comes later by this: the event loop was busy, and answers may have come that were not read yet.
_BUSY_S: Final = 0.2
#: So long a call is repeated, each time with a check, because the provider was not ready: a connection takes some round trips.
_NOT_READY_S: Final = 3.0
#: Pauses are read so often.
_PAUSES_S: Final = 2.0


class CallHandler(Protocol):
    """What happens with deliveries before and after their calls."""

    def call_ended(self, delivery: Delivery, result: ProviderResult) -> None:
        """The call has ended, or the message cannot be sent."""

    def call_is_late(self, delivery: Delivery, waited_s: float) -> None:
        """There is no answer yet; `call_ended` may follow."""

    def call_lost(self, delivery: Delivery, error: Exception) -> None:
        """An unexpected error: how the call ended cannot be settled."""

    def check_again(self, partition: Partition, deliveries: Sequence[Delivery]) -> None:
        """The check or the proof of the token is too old to call these."""

    def shards_behind(self) -> Sequence[int]:
        """The shards on which so much is not settled that none of their calls may begin."""

    def leave(self, delivery: Delivery) -> None:
        """The partition has another owner: it is not called."""


class ProviderCalls:
    """Begins calls as the breaker and the checks allow, and watches them."""

    def __init__(
        self,
        lane: Lane,
        channel: Channel,
        order: ProviderOrder,
        categories: Categories,
        templates: Templates,
        admission: Admission,
        pauses: ProviderPauses,
        handler: CallHandler,
        region: str | None = None,
        mail_links: MailLinks | None = None,
        suspensions: Suspensions | None = None,
    ) -> None:
        """`mail_links`: None where the channel has none. `suspensions`: None: of this machine."""
        self._suspensions = suspensions or Suspensions()
        self._order = order
        self._categories = categories
        self._messages = OutgoingMessages(categories, templates, region, mail_links)
        self._admission = admission
        self._pauses = pauses
        self._handler = handler
        self._to_provider = metrics.TO_PROVIDER.labels(lane, channel)
        self._call_times = {one.name: metrics.PROVIDER_CALL.labels(one.name) for one in order.providers}
        self._answers = AnswerCounts()
        #: Admitted and checked, waiting for a call.
        self._ready: deque[Delivery] = deque()
        #: Those whose shard is behind, by shard: they come before the others once it is not.
        self._behind: dict[int, list[Delivery]] = {}
        #: Calls under way.
        self._calls: dict[Delivery, asyncio.Task[None]] = {}
        self._states = ProviderStates(order)
        self.paused_categories = PausedCategories(channel)
        self._calling = asyncio.Event()
        #: `pump` will be called soon, once for all calls that end at the same time.
        self._pumps = False
        #: The worker stops: a call that fails from now on has no result.
        self.stopping = False

    async def start(self) -> None:
        for one in self._order.providers:
            await one.client.start()

    async def close(self) -> None:
        """Close the connections."""
        self.stopping = True
        await asyncio.gather(*(one.client.close() for one in self._order.providers))

    async def stop(self) -> None:
        """Cancel what is still under way after `close`."""
        await tasks.stop(self._calls.values())

    def under_way(self, partition: Partition | None = None) -> list[asyncio.Task[None]]:
        """The calls of a partition, or all, that are not parked."""
        return [
            task
            for delivery, task in self._calls.items()
            if not delivery.parked and partition in (None, delivery.partition)
        ]

    def add(self, deliveries: Iterable[Delivery]) -> None:
        """These are admitted and checked: call them."""
        self._ready.extend(deliveries)
        self.pump()

    def leave_waiting(self) -> None:
        """Begin none of the calls that wait."""
        kept = [*self._ready, *chain.from_iterable(self._behind.values())]
        self._ready.clear()
        self._behind.clear()
        for delivery in kept:
            self._handler.leave(delivery)

    def provider_state(self) -> ProviderState:
        """The present state, without I/O."""
        return self._states.current(self.paused_categories.names)

    # -- Calls

    def pump(self) -> None:
        """Begin as many calls as may be under way; none of a shard on which too much is not settled."""
        if not self._ready and not self._behind:
            return
        self._calling.set()
        self._look_for_suspension()
        behind = self._handler.shards_behind()
        for shard in [one for one in self._behind if one not in behind]:
            self._ready.extendleft(reversed(self._behind.pop(shard)))
        again: list[Delivery] = []
        begun: list[tuple[Delivery, CalledProvider]] = []
        now = time.monotonic()
        free = self._order.free(now)
        while self._ready and free > 0:
            delivery = self._ready.popleft()
            if behind and (shard := delivery.partition.shard) in behind:
                self._behind.setdefault(shard, []).append(delivery)
                continue
            count = _calls_of(delivery)
            if count > 1 and (self._calls or begun) and count > free:
                self._ready.appendleft(delivery)
                break
            if not delivery.partition.active:
                self._handler.leave(delivery)
            elif now >= _may_begin_until(delivery):
                again.append(delivery)
            elif (provider := self._choose(delivery, now)) is not None:
                delivery.began = now
                self._admission.begin(provider, count, retry=delivery.entry is None, shard=delivery.partition.shard)
                free -= count
                begun.append((delivery, provider))
            elif self.stays(delivery) and self._order.named(delivery.provider) is not self._order.closed(now):
                self._not_called(delivery, self._order.named(delivery.provider), now)
            else:
                self._ready.appendleft(delivery)
                break
        # One message after the other: among calls each would take longer, because the processor's caches hold other code.
        rendered = [(delivery, provider, self._render(delivery, provider.name)) for delivery, provider in begun]
        for delivery, provider, outgoing in rendered:
            self._calls[delivery] = asyncio.create_task(self._call(delivery, provider, outgoing))
        for partition in dict.fromkeys(delivery.partition for delivery in again):
            self._handler.check_again(partition, [one for one in again if one.partition is partition])

    def _render(self, delivery: Delivery, provider: str) -> Outgoing | list[Outgoing] | ProviderResult:
        """See `OutgoingMessages.of`."""
        try:
            return self._messages.of(delivery, provider)
        except Exception as error:  # a defect must not end the calls of others; the error's text may be a person's
            log.error(
                "a message could not be rendered, the attempt will be repeated",
                extra={
                    "action": "render.defect",
                    **_defect_fields(delivery, error),
                },
            )
            return ProviderResult(
                outcome=ProviderOutcome.RETRY,
                provider=provider,
                detail=type(error).__name__,
                begun=False,
                not_called=True,
            )

    def stays(self, delivery: Delivery, result: ProviderResult | None = None) -> bool:
        """Whether only the provider of the last call may be called, because it may have taken the message; `result`: of that call."""
        in_doubt = delivery.in_doubt or (result is not None and result.maybe_accepted)
        return in_doubt and not self._takes_duplicates(delivery)

    def _takes_duplicates(self, delivery: Delivery) -> bool:
        category = self._categories.get(delivery.message.category)
        return category is not None and category.on_doubt is OnDoubt.NEXT

    def _choose(self, delivery: Delivery, now: float) -> CalledProvider | None:
        return self._order.choose(delivery.provider, now, pinned=self.stays(delivery))

    def _not_called(self, delivery: Delivery, provider: CalledProvider, now: float) -> None:
        """The only provider that may be called is not: another attempt is made later."""
        until = provider.breaker.open_until
        result = ProviderResult(
            outcome=ProviderOutcome.RETRY,
            provider=provider.name,
            detail="not called, it may have taken an earlier call",
            retry_after_s=None if until is None else max(0.0, until - now),
            begun=False,
        )
        self._handler.call_ended(delivery, result)
        self._admission.release(retry=delivery.entry is None, shard=delivery.partition.shard)

    async def _call(
        self, delivery: Delivery, provider: CalledProvider, outgoing: Outgoing | list[Outgoing] | ProviderResult
    ) -> None:
        """`outgoing`: see `OutgoingMessages.of`."""
        try:
            if not isinstance(outgoing, ProviderResult):
                outgoing = await self._result(delivery, provider, outgoing)
            self._ended(delivery, provider, outgoing)
        except Exception as error:
            self._lost(delivery, provider, error)

    async def _result(
        self, delivery: Delivery, provider: CalledProvider, outgoing: Outgoing | list[Outgoing]
    ) -> ProviderResult:
        """Make the call, or that for each device."""
        failpoint("before_provider")
        began = time.time()
        if isinstance(outgoing, list):
            result = await self._send_each(delivery, provider, outgoing)
        else:
            result = await self._send(delivery, provider, outgoing)
        if not result.not_ready:
            message = delivery.message
            origin_s = (message.origin_ms or int(message.decided_at.timestamp() * 1000)) / 1000
            self._to_provider.observe(max(0.0, began - origin_s))
        failpoint("after_provider")
        return result

    def _lost(self, delivery: Delivery, provider: CalledProvider, error: Exception) -> None:
        """Tell of an error of ours, without its text, which may contain a contact."""
        if delivery in self._calls:
            self._is_over(delivery, provider)
            self._release_called(delivery)
        place = extract_tb(error.__traceback__)[-1]
        log.error(
            "how a call ended is lost by an unexpected error, the worker must be restarted",
            extra={
                "action": "call.lost",
                "place": f"{place.filename}:{place.lineno}",
                **_defect_fields(delivery, error),
            },
        )
        self._handler.call_lost(delivery, error)

    async def _send_each(
        self, delivery: Delivery, provider: CalledProvider, outgoing: list[Outgoing]
    ) -> ProviderResult:
        """Call for each device at the same time."""
        if len(outgoing) == 1:
            results = [await self._send(delivery, provider, outgoing[0])]
        else:
            results = await asyncio.gather(*(self._send(delivery, provider, one) for one in outgoing))
        both = zip(outgoing, results, strict=True)
        return merged([DeviceResult(one.to, result, one.template_version) for one, result in both])

    async def _send(self, delivery: Delivery, provider: CalledProvider, outgoing: Outgoing) -> ProviderResult:
        """Call while the check is good; again while the provider is not ready."""
        name = outgoing.provider or provider.name
        result: ProviderResult | None = None
        while True:
            if outgoing.provider in self._states.paused:
                return ProviderResult(outcome=ProviderOutcome.RETRY, provider=name, detail="paused", begun=False)
            # Many calls begin at the same time, and each takes processor time: compare for each.
            self._look_for_suspension()
            now = time.monotonic()
            if self.stopping or not delivery.partition.active or now >= _may_begin_until(delivery):
                return result or _too_late(name)
            delivery.began, delivery.content_began = now, 0.0
            delivery.first_began = delivery.first_began or now
            delivery.provider = provider.name
            began = time.perf_counter()
            call = None if delivery.trace is None else delivery.trace.call(outgoing, name)
            try:
                result = await provider.client.send(outgoing if call is None else call.outgoing)
            except Exception as error:  # a defect must not stop the partition; the error's text may contain a contact
                log.error(
                    "provider client failed, the call will be retried",
                    extra={
                        "action": "provider.defect",
                        **_defect_fields(delivery, error),
                    },
                )
                result = ProviderResult(
                    outcome=ProviderOutcome.RETRY, provider=name, detail=type(error).__name__, maybe_accepted=True
                )
            if not result.not_ready:
                call_times = self._call_times.get(name) or metrics.PROVIDER_CALL.labels(name)
                call_times.observe(time.perf_counter() - began)
                self._answers.add(result)
                if call is not None:
                    call.ended(delivery.number, result)
                return result

    def _look_for_suspension(self) -> None:
        """After one, nothing may be called that was checked before, and no token counts as proved."""
        if not self._suspensions.since_last_look():
            return
        log.warning(
            "the machine was suspended, or its clock set ahead: what was checked before is checked again",
            extra={"action": "calls.suspended"},
        )
        for delivery in chain(self._ready, chain.from_iterable(self._behind.values()), self._calls):
            delivery.check_until = 0.0
            delivery.partition.proved_at = -inf

    def _ended(self, delivery: Delivery, provider: CalledProvider, result: ProviderResult) -> None:
        """A call has ended, or was not made because the message cannot be sent."""
        self._is_over(delivery, provider)
        if self.stopping and result.outcome is ProviderOutcome.RETRY and not is_reached(result):
            return  # it may have failed because the worker stops
        waits_until = delivery.first_began + _NOT_READY_S if delivery.first_began else inf
        if result.not_ready and not delivery.parked and time.monotonic() < waits_until:
            self._admission.not_begun(
                provider, _calls_of(delivery), retry=delivery.entry is None, shard=delivery.partition.shard
            )
            self._call_again(delivery)
            return
        try:
            for one in (result,) if result.devices is None else (device.result for device in result.devices):
                self._states.note_credential(one)
                if result.devices is None or one.provider == provider.name:
                    self._count_result(delivery, provider, one)
            self._handler.call_ended(delivery, result)
        finally:
            self._release_called(delivery)

    def _is_over(self, delivery: Delivery, provider: CalledProvider) -> None:
        """No call of the delivery is under way any more."""
        del self._calls[delivery]
        provider.calls -= _calls_of(delivery)

    def _release_called(self, delivery: Delivery) -> None:
        self._admission.release(retry=delivery.entry is None, begun=True, shard=delivery.partition.shard)
        self._pump_soon()

    def _call_again(self, delivery: Delivery) -> None:
        """Check and call once more; what ends at the same time is checked together."""
        delivery.check_until = 0.0
        self._ready.append(delivery)
        self._pump_soon()

    def _pump_soon(self) -> None:
        """Call `pump` once for all calls that end in this round of the event loop."""
        if not self._pumps:
            self._pumps = True
            asyncio.get_running_loop().call_soon(self._pump_now)

    def _pump_now(self) -> None:
        self._pumps = False
        self.pump()

    def _count_result(self, delivery: Delivery, provider: CalledProvider, result: ProviderResult) -> None:
        """Count a result of `provider` for its breaker."""
        if result.not_called:
            return
        now = time.monotonic()
        if result.outcome is not ProviderOutcome.RETRY:
            if result.begun:
                provider.breaker.succeeded(now)
            return
        if not delivery.is_late and not result.one_server:
            self._count_failure(now, provider, result.detail, result.retry_after_s)

    async def watch_pauses(self) -> None:
        while True:
            with suppress(RetryLater):  # then they stay as they are
                self._states.pause(await self._pauses.read())
            self.paused_categories.update(self._states.paused)
            self._admission.changed()
            self._states.log_changes()
            await asyncio.sleep(_PAUSES_S)

    def _count_failure(
        self, now: float, provider: CalledProvider, detail: str, retry_after_s: float | None = None
    ) -> None:
        self._states.failed(provider.name, detail)
        provider.breaker.failed(now, retry_after_s)
        self._admission.changed()
        self._states.log_changes()

    async def watch(self) -> None:
        """Park calls without an answer, count them as failures, and begin calls when the breaker allows."""
        while True:
            if not self._calls and not self._ready and not self._behind:
                self._calling.clear()
                await self._calling.wait()
            began = time.monotonic()
            await asyncio.sleep(_TICK_S)
            if time.monotonic() > began + _TICK_S + _BUSY_S:
                await asyncio.sleep(_TICK_S)  # read the answers first
            now = time.monotonic()
            for delivery in list(self._calls):
                waited_s = now - delivery.began
                if waited_s < _PARK_AFTER_S:
                    continue
                if not delivery.parked:
                    delivery.parked = True
                    self._handler.call_is_late(delivery, waited_s)
                # Of several devices any may be the slow one: their results count when all have ended.
                if now >= _is_late_from(delivery) and not delivery.is_late and delivery.message.devices is None:
                    delivery.is_late = True
                    self._count_failure(now, self._order.named(delivery.provider), f"no answer for {waited_s:.0f} s")
            if self._ready or self._behind:
                self.pump()


def _is_late_from(delivery: Delivery) -> float:
    """When the call, without an answer, counts as a failure of the provider (monotonic)."""
    if delivery.content_began:
        return delivery.content_began + _CONTENT_LATE_AFTER_S
    return delivery.began + LATE_AFTER_S


def _may_begin_until(delivery: Delivery) -> float:
    """A call that begins later needs another check or proof (monotonic)."""
    partition = delivery.partition
    return -inf if partition.blocked else min(delivery.check_until, partition.proved_at + _TOKEN_GOOD_S)


def _too_late(provider: str) -> ProviderResult:
    return ProviderResult(
        outcome=ProviderOutcome.RETRY,
        provider=provider,
        detail="not called, its check became too old",
        begun=False,
        not_ready=True,
        not_called=True,
    )


def _defect_fields(delivery: Delivery, error: Exception) -> dict[str, str]:
    """For the log of an error of ours, without its text, which may contain a contact."""
    return {
        "delivery_id": delivery.message.delivery_id,
        "error": type(error).__name__,
        **trace_fields(delivery.message.traceparent),
    }


def _calls_of(delivery: Delivery) -> int:
    """The calls that a delivery makes: one for each device."""
    return 1 if delivery.message.devices is None else len(delivery.message.devices)
