"""A request for a person of another region is answered by that region, after one hop."""

from aiohttp.test_utils import TestServer, make_mocked_request
from aiohttp.web import Application, Request, Response
from yarl import URL

from notify_streams.app import NotifyApp
from notify_streams.public.relay import HOP_HEADER, Relay
from notify_streams.settings_public import PublicSettings
from tests.unit.web.conftest import NewWorker

PATH = "/unsubscribe/a-token?x=%20y"


def worker_of(new_worker: NewWorker, url: str) -> NotifyApp:
    return new_worker("webhooks", public=PublicSettings(urls={"eu": url}))


def a_request(**headers: str) -> Request:
    return make_mocked_request("POST", PATH, headers={"Content-Type": "text/plain", "Cookie": "c", **headers})


async def test_the_other_region_answers(new_worker: NewWorker) -> None:
    seen: list[tuple[str, bytes]] = []

    async def answer(request: Request) -> Response:
        body = await request.read()
        seen.append((request.raw_path, body))
        assert "Cookie" not in request.headers
        return Response(text="<p>done", status=200, content_type="text/html")

    app = Application()
    app.router.add_post("/unsubscribe/{token}", answer)
    async with TestServer(app) as server:
        here = Relay(worker_of(new_worker, str(server.make_url("")).rstrip("/")))
        response = await here.relay("eu", a_request(), b"List-Unsubscribe=One-Click")
        await here.close()
    assert (response.status, response.body, response.content_type) == (200, b"<p>done", "text/html")
    assert seen == [(PATH, b"List-Unsubscribe=One-Click")]


async def test_it_makes_one_hop_only_also_behind_a_proxy_that_writes_the_path_anew(new_worker: NewWorker) -> None:
    hops: list[str] = []
    relays: list[Relay] = []

    async def disagree(request: Request) -> Response:
        hops.append(request.headers[HOP_HEADER])
        as_proxied = request.clone(rel_url=URL("/unsubscribe/a-token?x=+y", encoded=True))
        return await relays[0].relay("eu", as_proxied, await request.read())

    app = Application()
    app.router.add_post("/unsubscribe/{token}", disagree)
    async with TestServer(app) as server:
        relays.append(Relay(worker_of(new_worker, str(server.make_url("")).rstrip("/"))))
        response = await relays[0].relay("eu", a_request(), b"x")
        await relays[0].close()
    assert response.status == 503 and len(hops) == 1


async def test_a_region_that_does_not_answer_is_asked_later(new_worker: NewWorker) -> None:
    relay = Relay(worker_of(new_worker, "http://127.0.0.1:1"))
    for region in ("eu", "asia"):
        response = await relay.relay(region, a_request(), b"")
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
    await relay.close()
