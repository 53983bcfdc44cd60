"""The answers of a running region are as the OpenAPI documents say."""

from functools import partial
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from notify_streams.roles import VIEWS
from tests.integration.web.views_region import ARegion, bearer, eventually
from tests.openapi_answers import document, problems

#: Path → status. `{ann}` is served here, `{bob}` elsewhere; `{dead}` is a dead letter, `{sent}` was notified.
VIEWED = {
    "/": 200,
    "/live": 200,
    "/ready": 200,
    "/metrics": 200,
    "/lag": 200,
    "/ledger": 200,
    "/outbox": 200,
    "/providers": 200,
    "/region": 200,
    "/regions": 200,
    "/runbooks": 200,
    "/templates": 200,
    "/templates/receipt": 404,
    "/users/{ann}": 200,
    "/users/{bob}": 200,
    "/users/nowhere": 404,
    "/notifications": 400,
    "/notifications?user={ann}": 200,
    "/notifications/{sent}": 200,
    "/notifications/payments/{dead}": 200,
    "/notifications/t-never": 404,
    "/dead-letters?values=true&limit=100": 200,
    "/dead-letters?limit=none": 400,
    "/search?q={sent}": 200,
    "/search?q=nowhere": 404,
    "/search": 400,
    "/login": 200,
}
WRITTEN = {
    ("{ann}/preferences/marketing/push", b'{"opted_in": false}'): 200,
    ("{ann}/preferences/marketing/push", b"{}"): 400,
    ("{ann}/preferences/none/push", b'{"opted_in": true}'): 404,
    ("{ann}/preferences/marketing/fax", b'{"opted_in": true}'): 404,
    ("nowhere/preferences/marketing/push", b'{"opted_in": true}'): 404,
    ("{ann}/preferences/security/push", b'{"opted_in": false}'): 409,
    ("{bob}/preferences/marketing/push", b'{"opted_in": true}'): 421,
}


@pytest.fixture(scope="module")
async def names(region: ARegion) -> dict[str, str]:
    """People, and the ids of two triggers that were decided."""
    found = {"ann": region.person("ann"), "bob": region.person("bob")}
    for name, category in (("sent", "payments"), ("dead", "none")):
        found[name] = f"t-{uuid4()}"
        trigger = {"id": found[name], "user_id": found["ann"], "category": category, "title": "Hello", "body": "there"}
        await region.upstream.send([("triggers.payments", found["ann"], msgspec.json.encode(trigger), ())])
        await eventually(partial(region.get, f"/notifications/{found[name]}"), lambda got: got[0] == 200)
    await eventually(partial(region.get, "/region"), lambda got: got[0] == 200)
    return found


async def asked(
    region: ARegion, name: str, method: str, path: str, role: str = VIEWS, **request: Any
) -> tuple[int, list[str]]:
    """The status, and what of the answer is not as the document `name` says."""
    async with region.http.request(method, region.url(path, role), allow_redirects=False, **request) as response:
        body = await response.read()
    where = path.partition("?")[0]
    return response.status, problems(name, method, where, response.status, response.content_type, body)


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
@pytest.mark.parametrize("path", VIEWED)
async def test_a_view_answers_as_described(region: ARegion, names: dict[str, str], path: str, accept: str) -> None:
    headers = {**bearer(region.settings.web_read_token), "Accept": accept}
    status, faults = await asked(region, "views", "GET", path.format_map(names), headers=headers)
    assert faults == []
    assert status in (VIEWED[path], *((303, 200) if accept == "text/html" else ()))


@pytest.mark.parametrize(("path", "body"), WRITTEN)
async def test_a_write_answers_as_described(region: ARegion, names: dict[str, str], path: str, body: bytes) -> None:
    headers = bearer(region.settings.web_write_token)
    address = f"/users/{path.format_map(names)}"
    assert await asked(region, "views", "PUT", address, headers=headers, data=body) == (WRITTEN[path, body], [])


async def test_a_location_answers_as_described(region: ARegion, names: dict[str, str]) -> None:
    headers = bearer(region.settings.web_edge_token)
    for name, status in ((names["bob"], 200), ("nowhere", 404)):
        assert await asked(region, "views", "GET", f"/locations/{name}", headers=headers) == (status, [])


@pytest.mark.parametrize("path", [path for path in document("views")["paths"] if path.startswith(("/users", "/notif"))])
async def test_a_request_without_a_token_answers_as_described(region: ARegion, path: str) -> None:
    for method in document("views")["paths"][path]:
        assert await asked(region, "views", method.upper(), path.replace("{", "").replace("}", "")) == (401, [])


@pytest.mark.parametrize("role", ["standard", "push"])
@pytest.mark.parametrize("path", document("worker")["paths"])
async def test_every_worker_answers_as_described(region: ARegion, names: dict[str, str], path: str, role: str) -> None:
    assert await asked(region, "worker", "GET", path, role) == (200, [])


async def test_the_events_are_as_described(region: ARegion, names: dict[str, str]) -> None:
    async with region.http.get(region.url("/region/events")) as response:
        event = await response.content.readuntil(b"\n\n")
        assert problems("views", "GET", "/region/events", response.status, response.content_type, event) == []
    data = msgspec.json.decode(event.partition(b"data: ")[2])
    assert data.keys() == {"at", "title", "sections"}
