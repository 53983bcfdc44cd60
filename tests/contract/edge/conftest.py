"""Points of presence on real sockets: fakes of three kinds, and nginx where it is installed."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devtools.fakes.edge_server import FakeEdgeServer
from devtools.stack.nginx import Edge, EdgeTokens, nginx_program
from devtools.stack.ports import free_port
from notify_streams.edge.pusher import make_point_of_presence, open_session
from notify_streams.secret import Secret
from notify_streams.settings import EdgePopSettings
from tests.contract.edge.edge_reader import Reader

KINDS = ("http", "fastly", "cloudflare", "nginx")


@pytest.fixture
async def edge_server() -> AsyncIterator[FakeEdgeServer]:
    made = FakeEdgeServer()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture(params=KINDS)
async def reader(request: pytest.FixtureRequest, edge_server: FakeEdgeServer, tmp_path: Path) -> AsyncIterator[Reader]:
    """A point of presence, and what a client at the edge reads there."""
    async with open_session() as session:
        if request.param != "nginx":
            pop = EdgePopSettings("paris", edge_server.url(request.param), request.param, Secret(edge_server.token))
            yield Reader(make_point_of_presence(pop, session), session, edge_server=edge_server)
            return
        if nginx_program() is None:
            if os.environ.get("CI"):
                raise RuntimeError("CI has no nginx: apt-get install nginx-light")
            pytest.skip("this machine has no nginx (apt-get install nginx-light)")
        edge = Edge("edge", tmp_path / "edge", free_port(), EdgeTokens("t0ken", "read", "origin"), "127.0.0.1:9")
        edge.start()
        yield Reader(
            make_point_of_presence(EdgePopSettings("paris", edge.url, "http", Secret("t0ken")), session),
            session,
            url=edge.url,
        )
        edge.kill()
