"""Measures a push worker: on a backlog, with a router, with and without templates."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from devtools.benchmarks.delivery.access_log import accepted_per_s, all_accepted
from devtools.benchmarks.router.load import TEMPLATE, TOPIC, bench_user, trigger
from devtools.cpu import cpu_s
from notify_streams.admin.trigger_producer import TriggerProducer
from notify_streams.preferences.categories import channels_of_templates, configured_categories
from notify_streams.templates.catalog import configured_templates

if TYPE_CHECKING:
    from devtools.benchmarks.delivery.checkout_region import CheckoutRegion, Offsets
    from notify_streams.admin.trigger_producer import Upload

#: The role and its topic.
PUSH: Final = "push"
ROUTER: Final = "standard"
#: Of each kind, in `measure_alternately`. An even number, so that both kinds are as often the first of two.
_BLOCKS: Final = 4


@dataclass(frozen=True, slots=True)
class StartCost:
    """CPU seconds that the start of a push worker takes where nothing waits: its own and MongoDB's."""

    worker: float
    mongodb: float


@dataclass(frozen=True, slots=True)
class BacklogRun:
    """One push worker on waiting messages. Costs are microseconds of CPU a delivery; a start's share is subtracted."""

    per_s: float
    worker_us: float
    mongodb_us: float
    kafka_us: float
    sink_us: float
    #: Connections that the worker opened to the sink, those included that were given up before a request.
    connections: int
    #: What the sink got, in the order of arrival.
    bodies: list[bytes]


def push_triggers(count: int, *, own_text: bool = False) -> dict[str, Upload]:
    """Standard triggers for push only, by trigger id. `own_text`: with their text instead of a template."""
    run = f"{time.time_ns():x}"
    found: dict[str, Upload] = {}
    for number in range(count):
        trigger_id, user_id = f"{run}-{number:08x}", bench_user(number * 7919)
        found[trigger_id] = TOPIC, user_id, trigger(trigger_id, user_id, False, [PUSH], number, own_text=own_text), ()
    return found


def rendering_us(count: int) -> float:
    """CPU of rendering the text of one push from its template, in this process, in microseconds."""
    template = configured_templates(channels_of_templates(configured_categories())).in_locale(TEMPLATE, "en")
    assert template is not None
    values = [{"amount": "12.50", "order": str(number)} for number in range(count)]
    began = time.thread_time()
    for data in values:
        template.render(PUSH, "en", "UTC", data)
    return 1e6 * (time.thread_time() - began) / count


async def _left(offsets: Offsets, expected: int) -> int:
    """Of all messages that were ever to be routed: those that the push worker has not acknowledged."""
    return expected - await offsets.written(PUSH) or await offsets.behind(PUSH, PUSH)


async def measure_flow(region: CheckoutRegion, count: int) -> tuple[float, StartCost]:
    """Deliveries per second from the first of `count` triggers to the last final state; and what the worker's start cost.

    Router, push worker, services, sink and the sender share the machine. The end is seen up to a second late, because workers acknowledge
    once a second.

    Raises:
        NotifyError: a delivery is missing in the sink's log, or its worker did not acknowledge it.
    """
    sent = push_triggers(count)
    async with region.offsets() as offsets, TriggerProducer(region.settings) as producer:
        before = region.cpu()
        async with region.working(PUSH) as worker:
            start = StartCost(cpu_s(worker.process.pid), (region.cpu() - before).mongodb)
            expected = await offsets.written(PUSH) + count
            async with region.working(ROUTER):
                began = time.time()
                await producer.send(sent.values())
                ended = await region.until(lambda: _left(offsets, expected))
    all_accepted(f"{region.name}, with a router", await region.take_accepted(count), sent)
    return count / (ended - began), start


async def measure_backlog(region: CheckoutRegion, count: int, start: StartCost) -> BacklogRun:
    """One push worker on `count` messages that a router left in its topic.

    Raises:
        NotifyError: a delivery is missing in the sink's log, or its worker did not acknowledge it.
    """
    sent = push_triggers(count)
    async with region.offsets() as offsets:
        expected = await offsets.written(PUSH) + count
        async with TriggerProducer(region.settings) as producer:
            await producer.send(sent.values())

        async def unrouted() -> int:
            return expected - await offsets.written(PUSH) or await offsets.behind(ROUTER, TOPIC)

        async with region.working(ROUTER):
            await region.until(unrouted)
        before, opened = region.cpu(), await asyncio.to_thread(region.sink.connections)
        worker = await region.pool.start(PUSH)
        await region.until(lambda: offsets.behind(PUSH, PUSH))
        worker_s, services = cpu_s(worker.process.pid), region.cpu() - before
        await region.pool.stop(worker)
        # The call itself opens one.
        opened = await asyncio.to_thread(region.sink.connections) - opened - 1
    accepted = await region.take_accepted(count)
    all_accepted(f"{region.name}, on a backlog", accepted, sent)

    def us(seconds: float) -> float:
        return 1e6 * seconds / count

    return BacklogRun(
        accepted_per_s(accepted),
        us(worker_s - start.worker),
        us(services.mongodb - start.mongodb),
        us(services.kafka),
        us(services.sink),
        opened,
        [one.body for one in accepted],
    )


async def measure_alternately(region: CheckoutRegion, count: int) -> tuple[list[float], list[float]]:
    """CPU of one push worker, in microseconds a delivery, with templates and without: a value for each block.

    `count` triggers of each kind, in alternating blocks of a few seconds: where processors are shared with others, two workers one after the
    other differ by more than rendering costs.

    Raises:
        NotifyError: a delivery is missing in the sink's log, or its worker did not acknowledge it.
    """
    size = count // _BLOCKS
    costs: dict[bool, list[float]] = {False: [], True: []}
    async with region.offsets() as offsets, TriggerProducer(region.settings) as producer:
        expected = await offsets.written(PUSH)

        async def block(own_text: bool) -> float:
            nonlocal expected
            sent = push_triggers(size, own_text=own_text)
            expected += size
            before = cpu_s(worker.process.pid)
            await producer.send(sent.values())
            await region.until(lambda: _left(offsets, expected))
            cost = 1e6 * (cpu_s(worker.process.pid) - before) / size
            all_accepted(f"{region.name}, alternating", await region.take_accepted(size), sent)
            return cost

        async with region.working(PUSH) as worker, region.working(ROUTER):
            await block(own_text=False)  # it opens the connections
            for own_text in (False, True, True, False) * (_BLOCKS // 2):
                costs[own_text].append(await block(own_text))
    return costs[False], costs[True]
