"""Points of presence over real sockets: stand-ins of three kinds, and nginx where the machine has it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from edge_reader import Reader

from notify_streams.devstack.nginx import Edge, program
from notify_streams.devstack.ports import free_port
from notify_streams.edge.push import open_session, point_of_presence
from notify_streams.edge.standin import Standin
from notify_streams.settings import Pop

KINDS = ("http", "fastly", "cloudflare", "nginx")


@pytest.fixture
async def standin() -> AsyncIterator[Standin]:
    made = Standin()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture(params=KINDS)
async def reader(request: pytest.FixtureRequest, standin: Standin, tmp_path: Path) -> AsyncIterator[Reader]:
    """A point of presence, and what a client at the edge reads there."""
    async with open_session() as session:
        if request.param != "nginx":
            pop = Pop("paris", standin.url(request.param), request.param, standin.token)
            yield Reader(point_of_presence(pop, session), session, standin=standin)
            return
        if program() is None:
            if os.environ.get("CI"):
                raise RuntimeError("CI has no nginx: apt-get install nginx-light")
            pytest.skip("this machine has no nginx (apt-get install nginx-light)")
        edge = Edge("edge", tmp_path / "edge", free_port(), "t0ken", "127.0.0.1:9", "origin")
        edge.start()
        yield Reader(point_of_presence(Pop("paris", edge.url, "http", "t0ken"), session), session, url=edge.url)
        edge.kill()
