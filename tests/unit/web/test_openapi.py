"""The OpenAPI documents describe each route, and what it answers without services."""

from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import ClientResponse
from standardwebhooks.webhooks import Webhook
from twilio.request_validator import RequestValidator

from devtools.openapi import SERVERS
from notify_streams.public.region_stops import REGION_STOPS
from notify_streams.public.webhooks import SOURCES
from notify_streams.roles import CHANNEL_ROLES, MODULES, VIEWS, WEBHOOKS
from notify_streams.web.region_views import REGION_VIEWS
from notify_streams.web.worker_views import WORKER_VIEWS
from tests.openapi_answers import problems, routes
from tests.unit.web.conftest import READ_TOKEN, WRITE_TOKEN, NewWorker, Visit
from tests.unit.web.test_webhook_views import FORM, PROVIDERS, PUBLIC, SECRET, TWILIO, URL

DOCUMENTS = {VIEWS: ["views"], WEBHOOKS: ["public", "worker"]}
#: Path → an address of it. Events have no end.
PATHS = {
    path: path.format(user_id="ann", category="marketing", channel="push", key="ann", trigger_id="t-1", name="receipt")
    for method, path in routes("views")
    if method == "GET" and path != "/region/events"
}


async def registered(worker: Any) -> set[tuple[str, str]]:
    """Method and path of each route; webhooks with the name of each provider. Every GET is a HEAD as well."""
    found = set()
    for route in (await worker.web.wsgi()).router.routes():
        path = route.resource.canonical
        for name in SOURCES if "{provider}" in path else [""]:
            found.add((route.method, path.replace("{provider}", name)))
    return {one for one in found if one[0] != "HEAD"}


@pytest.mark.parametrize("role", sorted({*MODULES} - {*CHANNEL_ROLES}))
async def test_every_route_is_described_and_no_other(new_worker: NewWorker, role: str) -> None:
    described = {route for name in DOCUMENTS.get(role, ["worker"]) for route in routes(name)}
    assert described == await registered(new_worker(role))


def test_a_view_with_a_right_has_its_security_schemes() -> None:
    schemes: dict[str | None, set[str]] = {None: set(), "edge": {"edge_token"}}
    schemes |= {right: {f"{right}_token", f"{right}_session"} for right in ("read", "write")}
    for name, views in (("views", REGION_VIEWS), ("worker", WORKER_VIEWS)):
        for path, view in views.items():
            for operation in SERVERS[f"openapi.{name}.json"].paths[path.replace(":.+", "")].values():
                assert {*operation.security} == schemes[view.right], path


async def check(name: str, response: ClientResponse) -> None:
    body = await response.read()
    assert not problems(name, response.method, response.url.path, response.status, response.content_type, body)


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
@pytest.mark.parametrize("path", PATHS)
async def test_a_view_without_services_answers_as_described(visit: Visit, path: str, accept: str) -> None:
    client = await visit(role=VIEWS)
    for token in ("wrong", READ_TOKEN):
        headers = {"Authorization": f"Bearer {token}", "Accept": accept}
        await check("views", await client.get(PATHS[path], headers=headers, allow_redirects=False))


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
async def test_a_view_without_a_token_in_the_settings_answers_as_described(visit: Visit, accept: str) -> None:
    client = await visit(role=VIEWS, web_read_token=None)
    response = await client.get("/users/ann", headers={"Accept": accept}, allow_redirects=False)
    assert response.status == 403
    await check("views", response)


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
async def test_a_refused_write_answers_as_described(visit: Visit, accept: str) -> None:
    client = await visit(role=VIEWS)
    path = "/users/ann/preferences/marketing/push"
    for token in ("wrong", WRITE_TOKEN):
        headers = {"Authorization": f"Bearer {token}", "Accept": accept}
        for body in (b'{"opted_in": true}', b"x" * 2_000):
            await check("views", await client.put(path, data=body, headers=headers))
            await check("views", await client.post(path, data=body, headers=headers))
    for path in ("/login", "/logout"):
        for origin in ("same-origin", "cross-site"):
            response = await client.post(
                path, data={"token": "wrong"}, headers={"Sec-Fetch-Site": origin}, allow_redirects=False
            )
            await check("views", response)


async def test_webhooks_answer_as_described(visit: Visit) -> None:
    client, off = [await visit(role=WEBHOOKS, **but) for but in ({"public": PUBLIC, "providers": PROVIDERS}, {})]
    for one in (client, off):
        for name in (*SOURCES, REGION_STOPS.rpartition("/")[2]):
            await check("public", await one.post(f"/webhooks/{name}", data=b"x"))
            await check("public", await one.post(f"/webhooks/{name}", data=b"x" * 700_000))
    signature = RequestValidator("the-token").compute_signature(URL + TWILIO, FORM)
    response = await client.post(TWILIO, data=FORM, headers={"X-Twilio-Signature": signature})
    assert response.status == 200
    await check("public", response)
    for number, (body, status) in enumerate({'{"type":"other","data":{}}': 200, "{}": 400}.items()):
        at = datetime.now(UTC)
        headers = {
            "webhook-id": f"o-{number}",
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Webhook(SECRET).sign(f"o-{number}", at, body),
        }
        response = await client.post("/webhooks/generic", data=body, headers=headers)
        assert response.status == status
        await check("public", response)


@pytest.mark.parametrize("path", ["/preferences/none", "/unsubscribe/none"])
async def test_links_answer_as_described(visit: Visit, path: str) -> None:
    client = await visit(role=WEBHOOKS)
    await check("public", await client.get(path))
    for body in ({"action": "save"}, {"action": "x" * 40_000}):
        await check("public", await client.post(path, data=body, allow_redirects=False))
