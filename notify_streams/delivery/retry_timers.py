"""Begins the attempts of deliveries whose timers are due."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import TYPE_CHECKING, Final

from notify_streams import metrics, tasks
from notify_streams.delivery import call_outcomes
from notify_streams.delivery.partition import Delivery
from notify_streams.failpoints import failpoint
from notify_streams.field_errors import DECODE_ERRORS
from notify_streams.records.channel_message import read_channel_message
from notify_streams.retry import STORE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from notify_streams.delivery.admission import Admission
    from notify_streams.delivery.delivery_spans import DeliverySpans
    from notify_streams.delivery.partition import Partition
    from notify_streams.delivery.settle_loop import SettleLoop
    from notify_streams.delivery.timers import Timer, TimerReader
    from notify_streams.records.channel_message import ChannelMessage
    from notify_streams.stores.shard_clocks import ShardClocks

log = logging.getLogger(__name__)

#: The longest time between two looks for due timers, and the pause while retries are not admitted.
_TIMERS_S: Final = 30.0
_NOT_ADMITTED_S: Final = 0.25
_TIMERS_AT_ONCE: Final = 200
#: A shard's clock is read again before a look for its timers, if the last reading is older.
_CLOCK_AGE_S: Final = 1.0
_TIMERS: Final = STORE.named("delivery.timers")


class RetryTimers:
    """Looks when the next timer is due, after `armed` with an earlier one, and after an assignment."""

    def __init__(
        self,
        timers: TimerReader,
        clocks: ShardClocks,
        admission: Admission,
        loops: Sequence[SettleLoop],
        begin: Callable[[Partition, Sequence[Delivery]], None],
        retrying: set[bytes],
        spans: DeliverySpans | None,
    ) -> None:
        """Claim timers in `loops`, one a shard.

        Args:
            begin: called with the deliveries whose timers are claimed.
            retrying: the keys of such deliveries; who settles or leaves one takes its key out.
            spans: None while tracing is off.
        """
        self._timers = timers
        self._clocks = clocks
        self._admission = admission
        self._loops = loops
        self._begin = begin
        self._retrying = retrying
        self._spans = spans
        #: The keys of those whose message cannot be read. They stay for a worker that can: one of a later release may have written them.
        self._unreadable: set[bytes] = set()
        self._changed = [asyncio.Event() for _ in loops]
        #: When each shard's timers are looked for again (monotonic).
        self._sleeps_until = [0.0 for _ in loops]

    def look_now(self) -> None:
        """Other timers may be due: the partitions have changed."""
        for changed in self._changed:
            changed.set()

    def armed(self, shard: int, due_ms: int) -> None:
        """A timer is due at `due_ms` by the shard's clock."""
        seconds = (due_ms - self._clocks.earliest(shard).timestamp() * 1000) / 1000
        if self._sleeps_until[shard] > time.monotonic() + seconds:
            self._changed[shard].set()

    async def run(self, owned: Callable[[], Mapping[int, Mapping[int, Partition]]]) -> None:
        """Look until cancelled, on each shard whatever the others do.

        Args:
            owned: returns this worker's partitions: shard → number → partition.
        """
        async with asyncio.TaskGroup() as looking:
            for shard in range(len(self._loops)):
                looking.create_task(self._look_on(shard, owned))

    async def _look_on(self, shard: int, owned: Callable[[], Mapping[int, Mapping[int, Partition]]]) -> None:
        changed = self._changed[shard]
        while True:
            changed.clear()
            # A timer that is armed during the look may be one that the look did not see.
            self._sleeps_until[shard] = math.inf
            pause_s = await _TIMERS.call(self._begin_due, shard, owned)
            self._sleeps_until[shard] = time.monotonic() + pause_s
            try:
                async with asyncio.timeout(pause_s):
                    await changed.wait()
            except TimeoutError:
                pass

    async def _begin_due(self, shard: int, owned: Callable[[], Mapping[int, Mapping[int, Partition]]]) -> float:
        """Begin the attempts that are due; returns the seconds until the next look."""
        by_number = owned().get(shard)
        if by_number is None:
            return _TIMERS_S
        if self._admission.calls(time.monotonic()) == 0:
            return _NOT_ADMITTED_S
        return await self._begin_due_on(shard, by_number)

    async def _begin_due_on(self, shard: int, by_number: Mapping[int, Partition]) -> float:
        await self._clocks.read(shard, _CLOCK_AGE_S)
        now = self._clocks.earliest(shard)
        skip = self._retrying | self._unreadable if self._unreadable else self._retrying
        due = await self._timers.due(shard, by_number, now, _TIMERS_AT_ONCE, skip)
        if not due:
            at = await self._timers.next_due(shard, by_number, now)
            return _TIMERS_S if at is None else min(_TIMERS_S, max(0.01, (at - now).total_seconds()))
        admitted = self._admission.take_retries(len(due), shard)
        messages = self._messages(due[:admitted])
        taken = [timer for timer in due[:admitted] if timer.key in messages]
        if len(taken) < admitted:
            self._admission.release(admitted - len(taken), retry=True, shard=shard)
        for timer in taken:
            metrics.TIMER_LATE.observe((now - timer.due_at).total_seconds())
        # All in one flush.
        buckets = _by_bucket(taken)
        try:
            arrived = await self._arrived(buckets)
        except BaseException:
            self._admission.release(len(taken), retry=True, shard=shard)
            raise
        await tasks.all_ended(
            self._retry(by_number[number], timers, messages, arrived) for number, timers in buckets.items()
        )
        return 0.01 if admitted else _NOT_ADMITTED_S

    def _messages(self, timers: Iterable[Timer]) -> dict[bytes, ChannelMessage]:
        """By key what these are for, without those that cannot be read."""
        found: dict[bytes, ChannelMessage] = {}
        for timer in timers:
            try:
                found[timer.key] = read_channel_message(timer.record)
            except DECODE_ERRORS as error:
                self._unreadable.add(timer.key)
                log.error(
                    "the message of a timer cannot be read, its attempt waits for another worker",
                    extra={
                        "action": "timer.unreadable",
                        "bucket": timer.bucket,
                        "timer": timer.key.hex(),
                        "error": error,
                    },
                )
        return found

    async def _arrived(self, buckets: Mapping[int, Sequence[Timer]]) -> set[bytes]:
        """The keys of those that a receipt says were delivered. Few timers are in doubt, so this costs the others nothing."""
        wanted = {number: [one.key for one in timers if one.may_have_arrived] for number, timers in buckets.items()}
        found = await asyncio.gather(*(self._timers.delivered(number, keys) for number, keys in wanted.items() if keys))
        return set().union(*found)

    async def _retry(
        self,
        partition: Partition,
        timers: Sequence[Timer],
        messages: Mapping[bytes, ChannelMessage],
        arrived: Collection[bytes],
    ) -> None:
        """Claim these timers and make their attempts; end those that have `arrived`, if that is one message to one address."""
        self._retrying.update(timer.key for timer in timers)
        if not partition.active or not await self._loops[partition.shard].claim_timers(partition, timers):
            self._retrying.difference_update(timer.key for timer in timers)
            self._admission.release(len(timers), retry=True, shard=partition.shard)
            return
        failpoint("after_timer_claim")
        deliveries = [self._delivery(partition, timer, messages[timer.key]) for timer in timers]
        ended = [one for one in deliveries if one.key in arrived and one.message.devices is None]
        for one in ended:
            self._loops[partition.shard].add(one, call_outcomes.delivered_before(), None)
            self._admission.release(retry=True, shard=partition.shard)
        if called := [one for one in deliveries if one not in ended]:
            self._begin(partition, called)

    def _delivery(self, partition: Partition, timer: Timer, message: ChannelMessage) -> Delivery:
        delivery = Delivery(
            partition,
            timer.key,
            message,
            timer.record,
            None,
            timer.attempt + 1,
            timer.in_doubt or timer.claim is not None,
            provider=timer.provider,
            replay=timer.replay,
        )
        if self._spans is not None:
            delivery.trace = self._spans.begin(delivery.message, int(timer.due_at.timestamp() * 1e9))
        return delivery


def _by_bucket(timers: Iterable[Timer]) -> dict[int, list[Timer]]:
    found: dict[int, list[Timer]] = {}
    for timer in timers:
        found.setdefault(timer.bucket, []).append(timer)
    return found
