"""`notify-streams bench receipts`: repeated, reordered, unknown receipts."""

from __future__ import annotations

import time
from random import Random
from typing import TYPE_CHECKING, Any, Final

import orjson

from devtools.benchmarks.region import local_region, worker_pool
from devtools.benchmarks.results import Goal, figure, report
from devtools.benchmarks.router.load import TOPIC, bench_user, trigger
from devtools.benchmarks.webhooks.signed import BenchDelivery
from devtools.benchmarks.webhooks.states import delivery_states, wait_until_idle
from notify_streams.admin.audit.region import audit
from notify_streams.admin.trigger_producer import TriggerProducer
from notify_streams.cli.output import print_progress
from notify_streams.topics import RECEIPTS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from notify_streams.admin.trigger_producer import Upload

#: The receipts of a delivery, each with the number of its attempt, and the state that they leave.
_CASES: Final = (
    (("delivered", "delivered", "delivered", "delivered"), "delivered"),
    (("failed", "failed", "failed", "failed"), "failed"),
    (("failed", "delivered", "delivered", "failed"), "delivered"),
    ((), "sent"),
)
_OF_EACH: Final = 4
_NONE: Final = Goal("at most", 0)


async def measure(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Start a local region in `folder`, measure, stop and wipe it."""
    random = Random(seed)
    async with local_region(folder) as settings, worker_pool(folder) as pool:
        for role in ("standard", "push"):
            await (await pool.start(role)).wait_until_ready()
        run = f"{time.time_ns():x}"
        # Half of the receipts are about the deliveries of three of four cases.
        deliveries = [
            BenchDelivery(f"receipt-{run}-{number:06x}", bench_user(number * 7919))
            for number in range(max(len(_CASES), count // 2 // _OF_EACH * len(_CASES) // (len(_CASES) - 1)))
        ]
        print_progress(f"{len(deliveries)} deliveries are sent")
        async with TriggerProducer(settings) as producer:
            await producer.send(
                (TOPIC, one.user_id, trigger(one.trigger_id, one.user_id, False, ("push",), number), ())
                for number, one in enumerate(deliveries)
            )
            await wait_until_idle(settings)
            uploads = receipts_of(deliveries, count, random)
            print_progress(f"{len(uploads)} receipts are published")
            await producer.send(uploads)
        began = time.monotonic()
        await (await pool.start("receipts")).wait_until_ready()
        await wait_until_idle(settings)
        seconds = time.monotonic() - began
        states = await delivery_states(settings)
        wrong = [one for number, one in enumerate(deliveries) if states.get(one.id) != _CASES[number % len(_CASES)][1]]
        found = await audit([settings])
        figures = [
            figure("receipts on the topic", len(uploads), "receipts", Goal("at least", count)),
            figure("deliveries with another state than their receipts say", len(wrong), "deliveries", _NONE),
            figure("differences of the audit", len(found["differences"]), "differences", _NONE),
            figure("receipts applied, with the start of the worker", len(uploads) / seconds, "receipts/s"),
        ]
        return report(figures, deliveries=len(deliveries), example=wrong[0].id if wrong else None)


def receipts_of(deliveries: Sequence[BenchDelivery], count: int, random: Random) -> list[Upload]:
    """At least `count` receipts in random order, those of unknown deliveries are one half."""
    known: list[Upload] = []
    for number, one in enumerate(deliveries):
        states, _ = _CASES[number % len(_CASES)]
        known += [(RECEIPTS, one.user_id, a_receipt(one.id, state), ()) for state in states]
    unknown: list[Upload] = []
    while len(known) + len(unknown) < max(count, 2 * len(known)):
        stranger = BenchDelivery(f"unknown-{random.getrandbits(64):x}", bench_user(random.randrange(10_000)))
        unknown += [(RECEIPTS, stranger.user_id, a_receipt(stranger.id, "delivered"), ())] * _OF_EACH
    uploads = known + unknown
    random.shuffle(uploads)
    return uploads


def a_receipt(delivery_id: str, state: str) -> bytes:
    return orjson.dumps(
        {
            "delivery_id": delivery_id,
            "state": state,
            "at": "2026-11-28T12:00:00Z",
            "attempt": 1,
            "provider": "bench",
            **({"code": "30006", "reason": "dead_token"} if state == "failed" else {}),
        }
    )
