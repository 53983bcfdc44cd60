"""A request for a person of another region is answered by that region, after one hop."""

from aiohttp.test_utils import TestServer, make_mocked_request
from aiohttp.web import Application, Request, Response
from cryptography.fernet import Fernet

from notify_streams.app import NotifyApp
from notify_streams.public.relay import PROOF_HEADER, Relay
from notify_streams.secret import Secret
from notify_streams.settings_public import PublicSettings
from tests.unit.web.conftest import NewWorker

PATH = "/unsubscribe/a-token?x=%20y"
KEY = Fernet.generate_key().decode()


def worker_of(new_worker: NewWorker, url: str, key: str = KEY) -> NotifyApp:
    return new_worker("webhooks", public=PublicSettings(urls={"eu": url}, link_keys=Secret(key)))


def a_request(**headers: str) -> Request:
    return make_mocked_request("POST", PATH, headers={"Content-Type": "text/plain", "Cookie": "c", **headers})


async def test_the_other_region_answers(new_worker: NewWorker) -> None:
    seen: list[tuple[str, bytes, bool]] = []
    worker = worker_of(new_worker, "http://127.0.0.1:1")
    there = Relay(worker)

    async def answer(request: Request) -> Response:
        body = await request.read()
        seen.append((request.raw_path, body, there.is_relayed(request, body)))
        assert "Cookie" not in request.headers
        assert not there.is_relayed(request, b"another body")
        return Response(text="<p>done", status=200, content_type="text/html")

    app = Application()
    app.router.add_post("/unsubscribe/{token}", answer)
    async with TestServer(app) as server:
        here = Relay(worker_of(new_worker, str(server.make_url("")).rstrip("/")))
        response = await here.relay("eu", a_request(), b"List-Unsubscribe=One-Click")
        await here.close()
    assert (response.status, response.body, response.content_type) == (200, b"<p>done", "text/html")
    assert seen == [(PATH, b"List-Unsubscribe=One-Click", True)]


async def test_it_makes_one_hop_only(new_worker: NewWorker) -> None:
    relay = Relay(worker_of(new_worker, "http://127.0.0.1:1"))
    proofs: list[str] = []

    async def note(request: Request) -> Response:
        proofs.append(request.headers[PROOF_HEADER])
        return Response()

    app = Application()
    app.router.add_post("/unsubscribe/{token}", note)
    async with TestServer(app) as server:
        sender = Relay(worker_of(new_worker, str(server.make_url("")).rstrip("/")))
        await sender.relay("eu", a_request(), b"x")
        response = await sender.relay("eu", a_request(**{PROOF_HEADER: proofs[0]}), b"x")
        await sender.close()
    assert response.status == 503 and len(proofs) == 1
    stranger = Relay(worker_of(new_worker, "http://127.0.0.1:1", Fernet.generate_key().decode()))
    assert not stranger.is_relayed(a_request(**{PROOF_HEADER: proofs[0]}), b"x")
    assert relay.is_relayed(a_request(**{PROOF_HEADER: proofs[0]}), b"x")


async def test_a_region_that_does_not_answer_is_asked_later(new_worker: NewWorker) -> None:
    relay = Relay(worker_of(new_worker, "http://127.0.0.1:1"))
    for region in ("eu", "asia"):
        response = await relay.relay(region, a_request(), b"")
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
    await relay.close()
