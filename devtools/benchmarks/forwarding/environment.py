"""The ground to measure on: region us with all its services, and region eu's broker with two ways to it, the long link and a short one.

The link is a TCP proxy that holds every byte back for half a round trip and limits no rate (`regions.slow_link`): many kernels have no
`netem`, and a figure is worth more where everybody can repeat it. The short way is the stopwatch's alone.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from devtools.stack import Stack
from devtools.stack.kafka import Kafka
from devtools.stack.ports import free_port
from notify_streams.admin.bootstrap import bootstrap_region
from notify_streams.admin.topics import ensure_topics
from notify_streams.errors import StoreUnavailable
from notify_streams.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

HERE: Final = "us"
FAR: Final = "eu"
LINK: Final = "TCP proxy, half the round trip each way, no limit of rate"
_OPEN_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class ForwardingEnvironment:
    """Both ends."""

    folder: Path
    #: Region us; the other region's broker is known to it by the link's end here.
    here: Settings
    #: Region eu's topics, by the short way.
    far: Settings
    link_port: int
    #: What workers see besides our environment.
    environ: Mapping[str, str]

    @property
    def link(self) -> str:
        """The far broker as everybody here knows it."""
        return f"127.0.0.1:{self.link_port}"

    @asynccontextmanager
    async def linked(self, round_trip_ms: float) -> AsyncIterator[None]:
        """The far broker can be reached by the link as long as the block lasts."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "devtools.benchmarks.forwarding.link_process"),
            *(str(self.link_port), f"127.0.0.1:{self.link_port + 1}", str(round_trip_ms / 2000)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            if await asyncio.wait_for(process.stdout.readline(), _OPEN_S) != b"open\n":
                raise StoreUnavailable("the link did not open")
            yield
        finally:
            process.kill()
            await process.wait()


@asynccontextmanager
async def forwarding_environment(folder: Path) -> AsyncIterator[ForwardingEnvironment]:
    """Start everything in `folder`; all of it is ended and wiped on leaving, but for the workers' logs: those go at the next start."""
    shutil.rmtree(folder / "workers", ignore_errors=True)
    stack = Stack(folder, environment={})
    far: Kafka | None = None
    try:
        await asyncio.to_thread(stack.up, [HERE], 1)
        link_port = free_port(count=2)
        far = _far_broker(folder, link_port)
        await asyncio.to_thread(far.start)
        environ = {
            "NOTIFY_STACK_DIR": str(folder),
            "NOTIFY_REGIONS": f"[{HERE}, {FAR}]",
            "NOTIFY_REMOTE_KAFKA": f"{{{FAR}: '127.0.0.1:{link_port}'}}",
            "NOTIFY_STANDBY": FAR,
        }
        here = load_settings(HERE, environ=environ, overlay=stack.settings_file(HERE))
        beyond = msgspec.structs.replace(here, region=FAR, kafka=far.address, remote_kafka={HERE: here.kafka})
        await bootstrap_region(here)
        await ensure_topics(beyond)
        yield ForwardingEnvironment(folder, here, beyond, link_port, environ)
    finally:
        if far is not None:
            await asyncio.to_thread(far.stop)
            shutil.rmtree(folder / FAR, ignore_errors=True)
        await asyncio.to_thread(stack.down, [HERE], True)


def _far_broker(folder: Path, link_port: int) -> Kafka:
    """A broker that tells each client to come back the way it came."""
    port, controller = free_port({link_port, link_port + 1}), 0
    while controller in (0, port, link_port, link_port + 1):
        controller = free_port({port})
    short, link = f"127.0.0.1:{port}", f"127.0.0.1:{link_port}"
    properties = {
        "listeners": f"PLAINTEXT://{short},LINK://127.0.0.1:{link_port + 1},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://{short},LINK://{link}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,LINK:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
    }
    return Kafka(f"{FAR}/kafka", folder / FAR / f"kafka-{os.getpid()}", port, controller, properties)
