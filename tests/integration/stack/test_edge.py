"""The point of presence on nginx: pushes, reads, the origin, authorisation."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from devtools.stack.nginx import Edge, EdgeTokens, nginx_program
from devtools.stack.ports import free_port
from notify_streams.edge.point_of_presence import edge_key
from notify_streams.edge.single_key_stores import http_store
from notify_streams.records.user_records import LocationRecord

_MISSING = nginx_program() is None and not os.environ.get("CI")
pytestmark = [pytest.mark.stack, pytest.mark.skipif(_MISSING, reason="nginx is not installed")]


class Origin:
    """The region's view for the edge; keeps the requests."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []

    async def respond(self, request: web.Request) -> web.Response:
        self.requests.append((request.raw_path, request.headers["Authorization"]))
        if request.match_info["key"] == "unknown":
            raise web.HTTPNotFound
        return web.json_response({"region": "asia", "version": 1}, headers={"Set-Cookie": "a=b"})


@pytest.fixture
async def origin() -> AsyncIterator[tuple[Origin, int]]:
    one = Origin()
    application = web.Application()
    application.router.add_get("/locations/{key}", one.respond)
    runner = web.AppRunner(application)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield one, port
    await runner.cleanup()


@pytest.fixture
async def edge(tmp_path: Path, origin: tuple[Origin, int]) -> AsyncIterator[Edge]:
    folder = tmp_path / "a folder with spaces" / "edge"
    made = Edge(
        *("us/edge", folder, free_port()),
        EdgeTokens("push-token", "read-token", "view-token"),
        f"127.0.0.1:{origin[1]}",
    )
    await asyncio.to_thread(made.start)
    yield made
    await asyncio.to_thread(made.stop)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer read-token"}) as made:
        yield made


@pytest.mark.parametrize(
    "user_id", ["u-42", "a/b", "ü ?#%", "..", "x" * 255], ids=["plain", "slash", "odd", "dots", "long"]
)
async def test_a_pushed_key_is_served_and_cacheable(
    edge: Edge, session: aiohttp.ClientSession, origin: tuple[Origin, int], user_id: str
) -> None:
    point = http_store("us-pop", edge.url, "push-token", session)
    assert await point.put_many([LocationRecord(user_id, "eu", 2)]) == 0
    async with session.get(
        f"{edge.url}/{edge_key(edge_key(user_id))}" if user_id != ".." else f"{edge.url}/%252E%252E"
    ) as response:
        assert response.status == 200
        assert await response.json() == {"region": "eu", "version": 2}
        assert response.headers["Cache-Control"] == "private, max-age=60"
        assert response.headers["ETag"]
    assert origin[0].requests == []


async def test_a_missing_key_is_fetched_from_the_region_once(
    edge: Edge, session: aiohttp.ClientSession, origin: tuple[Origin, int]
) -> None:
    for state in ("MISS", "HIT"):
        async with session.get(f"{edge.url}/u-7") as response:
            assert await response.json() == {"region": "asia", "version": 1}
            assert response.headers["X-Edge-Cache"] == state
            assert response.headers.getall("Cache-Control") == ["private, max-age=5"]
            assert "Set-Cookie" not in response.headers
    assert origin[0].requests == [("/locations/u-7", "Bearer view-token")]
    async with session.get(f"{edge.url}/unknown") as response:
        assert response.status == 404


async def test_a_push_replaces_the_origins_response_and_a_delete_removes_it(
    edge: Edge, session: aiohttp.ClientSession, origin: tuple[Origin, int]
) -> None:
    point = http_store("us-pop", edge.url, "push-token", session)
    async with session.get(f"{edge.url}/u-8") as response:
        assert (await response.json())["region"] == "asia"
    await point.put_many([LocationRecord("u-8", "us", 3)])
    async with session.get(f"{edge.url}/u-8") as response:
        assert (await response.json())["region"] == "us"
    await point.delete_many(["u-8", "u-8-was-never-there"])
    assert not (edge.folder / "keys" / "locations" / "u-8").exists()


@pytest.mark.parametrize(
    ("method", "token", "status"),
    [
        ("PUT", None, 401),
        ("PUT", "Bearer read-token", 401),
        ("PUT", "Bearer wrong", 401),
        ("PUT", "Bearer push-token-and-more", 401),
        ("DELETE", None, 401),
        ("POST", "Bearer push-token", 405),
        ("MKCOL", "Bearer push-token", 405),
    ],
)
async def test_writes_without_the_token_are_refused(
    edge: Edge, origin: tuple[Origin, int], method: str, token: str | None, status: int
) -> None:
    headers = {"Authorization": token} if token else {}
    async with aiohttp.request(method, f"{edge.url}/u-9", data=b"{}", headers=headers) as response:
        assert response.status == status
    assert not list((edge.folder / "keys" / "locations").iterdir())
    assert origin[0].requests == []


@pytest.mark.parametrize("token", [None, "Bearer push-token", "Bearer read-token-and-more", "bearer READ-TOKEN"])
async def test_without_the_read_token_nobody_learns_who_is_a_user(
    edge: Edge, session: aiohttp.ClientSession, origin: tuple[Origin, int], token: str | None
) -> None:
    point = http_store("us-pop", edge.url, "push-token", session)
    await point.put_many([LocationRecord("u-10", "us", 3)])
    answers = []
    for method, key in (("GET", "u-10"), ("GET", "unknown"), ("GET", "u-of-the-region"), ("GET", "x" * 300)):
        async with aiohttp.request(
            method, f"{edge.url}/{key}", headers={"Authorization": token} if token else {}
        ) as response:
            answers.append((response.status, await response.read(), sorted(response.headers.keys())))
    assert answers == [answers[0]] * len(answers) and answers[0][0] == 401
    assert origin[0].requests == []


async def test_a_key_too_long_for_a_file_is_refused_and_read_from_the_region(
    edge: Edge, session: aiohttp.ClientSession, origin: tuple[Origin, int]
) -> None:
    point = http_store("us-pop", edge.url, "push-token", session)
    assert await point.put_many([LocationRecord("x" * 300, "eu")]) == 1
    async with session.get(f"{edge.url}/{'x' * 300}") as response:
        assert (await response.json())["region"] == "asia"


async def test_a_path_outside_the_keys_is_not_found(edge: Edge, session: aiohttp.ClientSession) -> None:
    (edge.folder / "keys" / "secret").write_text("no")
    for path in ("/secret", "/locations/..%2Fsecret", "/locations/%2e%2e/secret", "/"):
        async with session.get(edge.address + path) as response:
            assert response.status in (400, 404), path
