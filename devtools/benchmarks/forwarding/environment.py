"""Region us with all its services, and the broker of region eu behind a slow link.

The link is a TCP proxy that delays every byte by half a round trip and limits no rate (`devtools.fakes.latency_proxy`): many kernels
have no `netem`, and everybody can repeat the measurement. Arrivals are timed over a second listener without delay.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from devtools import subprocesses
from devtools.stack import Stack
from devtools.stack.kafka import Kafka
from devtools.stack.ports import free_port
from devtools.subprocesses import python_module
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
    """Both ends of the link."""

    folder: Path
    #: Region us; it reaches the other region's broker over the link.
    here: Settings
    #: Region eu's topics, without the link.
    far: Settings
    link_port: int
    #: Added to the environment of workers.
    environ: Mapping[str, str]

    @property
    def link(self) -> str:
        """The far broker's address over the link."""
        return f"127.0.0.1:{self.link_port}"

    @asynccontextmanager
    async def linked(self, round_trip_ms: float) -> AsyncIterator[None]:
        """Open the link to the far broker until the block ends."""
        arguments = str(self.link_port), f"127.0.0.1:{self.link_port + 1}", str(round_trip_ms / 2000)
        async with subprocesses.running(
            python_module("devtools.benchmarks.forwarding.link_process", *arguments)
        ) as process:
            assert process.stdout is not None
            if await asyncio.wait_for(process.stdout.readline(), _OPEN_S) != b"open\n":
                raise StoreUnavailable("the link process did not open its port")
            yield


@asynccontextmanager
async def forwarding_environment(folder: Path) -> AsyncIterator[ForwardingEnvironment]:
    """Start everything in `folder`; stop and wipe it when the block ends. Workers' logs stay until the next start."""
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
    """A broker with a listener for each way; each advertises its own address."""
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
