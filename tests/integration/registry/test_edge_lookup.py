"""The lookup of docs/send/edge.md at a first connection, on nginx: hit, miss, a person who moves, a region that is away."""

from __future__ import annotations

import os
import re
import time
from typing import Any

import pytest

from devtools.stack.nginx import nginx_program
from devtools.stack.paths import PROJECT
from notify_streams.app import web_port
from notify_streams.edge.point_of_presence import edge_key
from notify_streams.edge.pusher import EdgePusher
from notify_streams.edge.single_key_stores import http_store
from notify_streams.records.user_records import LocationRecord, Signup
from notify_streams.registry.user import User
from notify_streams.roles import VIEWS
from notify_streams.topics import USER_LOCATIONS, USER_SIGNUPS
from tests.contract.edge.edge_reader import edge_record
from tests.integration.registry.registry_region import RegistryRegion, now, until

_MISSING = nginx_program() is None and not os.environ.get("CI")
pytestmark = [
    pytest.mark.stack,
    pytest.mark.timeout(300),
    pytest.mark.skipif(_MISSING, reason="nginx is not installed"),
]
#: What the page promises for a point of presence that asked its region.
_OF_THE_REGION_S = 5.0


class Clock:
    """That of a client, which a test puts forward."""

    ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


def home_regions(region: RegistryRegion, clock: Clock | None = None) -> Any:
    """A new client, made of the page's own code; the nearest region is asia."""
    page = (PROJECT / "docs" / "send" / "edge.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    edge = str(region.edge).removesuffix("/locations")
    return names["HomeRegions"](region.http, edge, region.read_token, "asia", clock or Clock())


async def answer(region: RegistryRegion, user_id: str, token: str | None = None) -> tuple[int, str, str | None]:
    """Status, body and how long it may be kept."""
    headers = {"Authorization": f"Bearer {token or region.read_token}"}
    async with region.http.get(f"{region.edge}/{edge_key(edge_key(user_id))}", headers=headers) as found:
        return found.status, await found.text(), found.headers.get("Cache-Control")


def body(home: str, version: int) -> str:
    return f'{{"region":"{home}","version":{version}}}'


async def test_a_pushed_location_is_a_hit(region: RegistryRegion) -> None:
    await region.send(USER_SIGNUPS, Signup("e/pushed ü", "us", now()))

    async def pushed() -> bool:
        return await answer(region, "e/pushed ü") == (200, body("us", 1), "private, max-age=60")

    await until(pushed)
    assert await home_regions(region).of("e/pushed ü") == "us"


@pytest.mark.parametrize("user_id", [".", "..", "...", "a!*'()b", "sp ace/ü"])
async def test_the_pages_client_makes_the_keys_that_are_pushed(region: RegistryRegion, user_id: str) -> None:
    point = http_store("us-pop", str(region.edge), region.push_token, region.http)
    await point.put_many([LocationRecord(user_id, "eu")])
    assert await home_regions(region).of(user_id) == "eu"


async def test_a_miss_is_answered_by_the_region_and_kept_for_seconds(region: RegistryRegion) -> None:
    await region.registry.put(User("e-far", "eu", 1, now()))

    async def asked() -> bool:
        return await answer(region, "e-far") == (200, body("eu", 1), "private, max-age=5")

    await until(asked)
    async with region.http.get(
        f"{region.edge}/e-far", headers={"Authorization": f"Bearer {region.read_token}"}
    ) as found:
        assert found.headers["X-Edge-Cache"] == "HIT"
    assert await home_regions(region).of("e-far") == "eu"
    assert await home_regions(region).of("no-user") is None

    # They move here by way of the previous home: what was kept of the region gives way at once.
    moved = Signup("e-far", "us", now(), 2)
    await region.send(USER_SIGNUPS, moved, ("hops", b"1"), ("origin", b"eu"), ("handed_over_by", b"eu"))

    async def served() -> bool:
        return await answer(region, "e-far") == (200, body("us", 2), "private, max-age=60")

    await until(served)


async def test_a_person_who_moves_away_is_never_sent_to_the_old_home_for_long(region: RegistryRegion) -> None:
    client = home_regions(region)
    await region.send(USER_SIGNUPS, Signup("e-mover", "us", now()))

    async def is_pushed() -> bool:
        return (await answer(region, "e-mover"))[2] == "private, max-age=60"

    await until(is_pushed)
    assert await client.of("e-mover") == "us"
    await region.send(USER_SIGNUPS, Signup("e-mover", "eu", now(), 2))

    async def is_deleted() -> bool:
        return await answer(region, "e-mover") == (200, body("us", 1), "private, max-age=5")

    await until(is_deleted)  # the region serves the person until the new home does
    moved = LocationRecord("e-mover", "eu", 2, previous="us")
    await region.send(USER_LOCATIONS, moved)  # as region eu forwards it

    async def is_known() -> bool:
        return '"eu"' in (await answer(region, "e-mover"))[1]

    await until(is_known, within_s=_OF_THE_REGION_S + 10)
    assert await client.of("e-mover") == "us"  # kept, for a minute at most
    client.forget("e-mover")  # region us has answered 421
    assert await client.of("e-mover") == "eu"

    point = http_store("us-pop", str(region.edge), region.push_token, region.http)
    await EdgePusher(point, "eu").push([edge_record("e-mover", "eu", 2, "us")])
    assert await answer(region, "e-mover") == (200, body("eu", 2), "private, max-age=60")


async def test_no_token_opens_anothers_data(region: RegistryRegion) -> None:
    """The read token of the edge opens no view, the view's token for the edge nothing but the location, and no answer has more than that."""
    settings = region.settings
    assert settings.web_edge_token and settings.web_read_token
    await region.send(USER_SIGNUPS, Signup("e-token", "us", now()))

    async def is_known() -> bool:
        return (await answer(region, "e-token"))[0] == 200

    await until(is_known)
    views = f"http://127.0.0.1:{web_port(settings, VIEWS)}"
    found: dict[tuple[str, str], int] = {}
    for name, token in {
        "edge": settings.web_edge_token.reveal(),
        "read": settings.web_read_token.reveal(),
        "reader of the edge": region.read_token,
    }.items():
        for path in ("/locations/e-token", "/users/e-token"):
            async with region.http.get(
                views + path, headers={"Authorization": f"Bearer {token}", "Accept": "application/json"}
            ) as response:
                found[name, path] = response.status
                if response.status == 200 and path.startswith("/locations"):
                    assert set(await response.json()) == {"region", "version"}
    opened = {case for case, status in found.items() if status == 200}
    assert opened == {("edge", "/locations/e-token"), ("read", "/users/e-token")}, found
    refused = [await answer(region, user_id, "wrong-token") for user_id in ("e-token", "no-user")]
    assert refused[0] == refused[1] and refused[0][0] == 401


async def test_a_region_that_is_away_leaves_hits_and_a_client_what_it_had(region: RegistryRegion) -> None:
    clock = Clock()
    client = home_regions(region, clock)
    await region.send(USER_SIGNUPS, Signup("e-stays", "us", now()))
    await region.registry.put(User("e-known", "eu", 1, now()))

    async def is_pushed() -> bool:
        return (await answer(region, "e-stays"))[2] == "private, max-age=60"

    await until(is_pushed)
    assert await client.of("e-known") == "eu"
    await region.stop()
    try:
        assert await client.of("e-stays") == "us"
        began = time.monotonic()
        assert await client.of("e-unheard-of") == "asia"  # the nearest
        assert time.monotonic() - began < 2

        async def is_gone() -> bool:
            return (await answer(region, "e-known"))[0] in (502, 504)

        await until(is_gone)  # what the point of presence kept has ended
        clock.ahead_s = 60.0  # and what the client kept
        assert await client.of("e-known") == "eu"
    finally:
        await region.start()
