"""`notify-streams bench webhooks`: signed webhooks beside triggers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from devtools.benchmarks.region import local_region, worker_pool
from devtools.benchmarks.results import Goal, figure, percentile_figures, report
from devtools.benchmarks.router.load import TOPIC, bench_user, trigger
from devtools.benchmarks.webhooks.signed import TWILIO_TOKEN, BenchDelivery, generic_delivered, twilio_delivered
from devtools.benchmarks.webhooks.states import delivery_states, wait_until_idle
from devtools.load.open_loop import SingleSender, at_rate
from devtools.percentiles import percentiles_of
from notify_streams.admin.audit.region import audit
from notify_streams.cli.output import print_progress

if TYPE_CHECKING:
    from pathlib import Path

    from notify_streams.settings import Settings

#: A webhook is about a trigger that was sent so long before: receipts come after the call.
_AFTER_S: Final = 3.0
_ROLES: Final = ("standard", "push", "receipts", "webhooks")
_CONNECTIONS: Final = 64
_NONE: Final = Goal("at most", 0)


async def measure(folder: Path, rate: float, triggers: float, seconds: float) -> dict[str, Any]:
    """Start a local region in `folder`, measure, stop and wipe it."""
    environ = {"NOTIFY_STACK_DIR": str(folder), "NOTIFY_PUBLIC__TWILIO_AUTH_TOKENS": TWILIO_TOKEN}
    async with local_region(folder) as settings, worker_pool(folder, environ) as pool:
        workers = {role: await pool.start(role) for role in _ROLES}
        for worker in workers.values():
            await worker.wait_until_ready()
        load = _Load(settings, workers["webhooks"].url)
        print_progress(f"{rate:g} webhooks/s beside {triggers:g} triggers/s for {seconds:g} s")
        await load.run(rate, triggers, seconds)
        await wait_until_idle(settings)
        states = await delivery_states(settings)
        missing = {one for one in load.acknowledged if states.get(one) != "delivered"}
        found = await audit([settings])
        figures = [
            figure("webhooks sent", load.sent, "webhooks", Goal("at least", int(rate * seconds))),
            figure("webhooks not answered with 200", load.sent - load.statuses[200], "webhooks", _NONE),
            figure("deliveries with an acknowledged receipt that are not delivered", len(missing), "deliveries", _NONE),
            figure("deliveries delivered", len(load.acknowledged) - len(missing), "deliveries"),
            figure("differences of the audit", len(found["differences"]), "differences", _NONE),
            *percentile_figures("webhook answered", percentiles_of(load.seconds)),
        ]
        statuses = {str(status): count for status, count in load.statuses.items()}
        return report(figures, statuses=statuses, triggers=len(load.deliveries))


class _Load:
    """Triggers, and webhooks about those that were sent some seconds before."""

    def __init__(self, settings: Settings, url: str) -> None:
        self._settings = settings
        self._url = url
        self.deliveries: list[BenchDelivery] = []
        #: Deliveries of which a receipt was acknowledged.
        self.acknowledged: set[str] = set()
        self.statuses: Counter[int | str] = Counter()
        self.seconds: list[float] = []
        self.sent = 0

    async def run(self, rate: float, triggers: float, seconds: float) -> None:
        run = f"{time.time_ns():x}"
        async with (
            SingleSender(self._settings) as sender,
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS), timeout=aiohttp.ClientTimeout(total=20)
            ) as http,
        ):

            async def send(number: int, due: float) -> None:
                one = BenchDelivery(f"webhook-{run}-{number:06x}", bench_user(number * 7919))
                await sender.send(TOPIC, one.user_id, trigger(one.trigger_id, one.user_id, False, ("push",), number))
                self.deliveries.append(one)

            async def post(number: int, due: float) -> None:
                await self._post(http, f"{run}-{number}", number, int(number * triggers / rate), due)

            sending = asyncio.create_task(at_rate(int(triggers * (seconds + _AFTER_S)), 1 / triggers, send))
            await asyncio.sleep(_AFTER_S)
            await at_rate(int(rate * seconds), 1 / rate, post)
            await sending

    async def _post(self, http: aiohttp.ClientSession, webhook_id: str, number: int, place: int, due: float) -> None:
        """A webhook about the delivery at this place; several are about one."""
        delivery = self.deliveries[min(place, len(self.deliveries) - 1)]
        is_twilio = number % 2
        request = (
            twilio_delivered(self._settings, delivery)
            if is_twilio
            else generic_delivered(self._settings, delivery, webhook_id)
        )
        self.sent += 1
        try:
            async with http.post(self._url + request.path, data=request.body, headers=request.headers) as response:
                await response.read()
                self.statuses[response.status] += 1
                if response.status == 200:
                    self.acknowledged.add(delivery.id)
        except (aiohttp.ClientError, TimeoutError) as error:
            self.statuses[type(error).__name__] += 1
        self.seconds.append(time.monotonic() - due)
