"""How each fault begins and ends. All act on real processes of the local stack."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

import aiohttp
import orjson

from devtools.faults.region import AWAY, CLOCK_ROLE, START_S, FaultRegion
from devtools.faults.worker_with_faults import HANG, failing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from devtools.faults.load import SteadyLoad
    from devtools.stack import Stack
    from devtools.stack.region import Component, Region
    from notify_streams.settings import Settings

    #: Begins a fault; when the block ends the fault has ended.
    Injection = Callable[["FaultTarget"], AbstractAsyncContextManager[None]]

#: More than Prometheus and the page allow.
STEP_S: Final = 45
#: The partition whose records cannot be processed.
POISONED: Final = ("triggers.payments", 3)


class FaultTarget(Protocol):
    """What faults of services and providers need. Those of workers need a `FaultRegion`."""

    @property
    def stack(self) -> Stack: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def load(self) -> SteadyLoad: ...


_CONTROL_TIMEOUT: Final = aiohttp.ClientTimeout(total=10.0)


def killed(component: Callable[[Region], Component]) -> Injection:
    """SIGKILL; at the end it is started again and answers."""

    @asynccontextmanager
    async def inject(region: FaultTarget) -> AsyncIterator[None]:
        found = component(region.stack.region(region.settings.region))
        await asyncio.to_thread(found.kill)
        try:
            yield
        finally:
            await asyncio.to_thread(found.start)

    return inject


def provider(**faults: Any) -> Injection:
    """FCM answers as `devtools.sandbox.fault_injection` says."""

    @asynccontextmanager
    async def inject(region: FaultTarget) -> AsyncIterator[None]:
        async with provider_faults(region.settings, **faults):
            yield

    return inject


@asynccontextmanager
async def provider_faults(settings: Settings, **faults: Any) -> AsyncIterator[None]:
    """The region's FCM has these faults during the block."""
    await _control(settings, faults)
    try:
        yield
    finally:
        await _control(settings, {})


async def _control(settings: Settings, faults: dict[str, Any]) -> None:
    url, plan = f"{settings.providers.fcm}/control", orjson.dumps({"provider": "fcm", **faults})
    async with aiohttp.ClientSession(timeout=_CONTROL_TIMEOUT) as http, http.post(url, data=plan) as response:
        response.raise_for_status()


@asynccontextmanager
async def poison_partition(region: FaultTarget) -> AsyncIterator[None]:
    """The batches of one partition raise at every delivery.

    At the end they are processed, as after a corrected release.
    """
    async with _agents_that(failing(*POISONED), region):
        yield


@asynccontextmanager
async def stuck_agent(region: FaultTarget) -> AsyncIterator[None]:
    """The agents of a worker finish no batch, while its web server answers; at the end they go on."""
    async with _agents_that(HANG, region):
        yield


@asynccontextmanager
async def _agents_that(act: str, region: FaultTarget) -> AsyncIterator[None]:
    assert isinstance(region, FaultRegion)
    region.fault_file.write_text(act)
    try:
        yield
    finally:
        region.fault_file.unlink()


def worker_gone(role: str) -> Injection:
    """SIGKILL of the only worker of a role; at the end another one is ready at its address."""

    @asynccontextmanager
    async def inject(region: FaultTarget) -> AsyncIterator[None]:
        assert isinstance(region, FaultRegion)
        (worker,) = region.pool.running(role)
        await region.pool.stop(worker, signal.SIGKILL)
        try:
            yield
        finally:
            successor = await region.start_worker(role, predecessor=worker)
            await successor.wait_until_ready(START_S)

    return inject


@asynccontextmanager
async def link_cut(region: FaultTarget) -> AsyncIterator[None]:
    """The other region's Kafka takes connections and answers nothing, as behind a link that loses every packet."""
    kafka = region.stack.region(AWAY).kafka
    await asyncio.to_thread(kafka.pause)
    try:
        yield
    finally:
        await asyncio.to_thread(kafka.resume)


@asynccontextmanager
async def clock_stepped(region: FaultTarget) -> AsyncIterator[None]:
    """The wall clock of one worker is `STEP_S` ahead; at the end it is right again.

    Raises:
        StackFailed: there is no libfaketime here.
    """
    assert isinstance(region, FaultRegion) and region.pool.running(CLOCK_ROLE)
    region.clock.step(STEP_S)
    try:
        yield
    finally:
        region.clock.step(0)
