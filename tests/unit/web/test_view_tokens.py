"""Views that show a user's data or change something need the token of their right; writes and refusals are logged."""

import logging
from collections.abc import AsyncIterator, Mapping
from typing import get_args

import pytest

from notify_streams import metrics
from notify_streams.secret import Secret
from notify_streams.settings import Settings
from notify_streams.web.audit_log import user_digest
from notify_streams.web.auth import Right, check_token
from notify_streams.web.region_views import REGION_VIEWS
from notify_streams.web.worker_views import WORKER_VIEWS
from notify_streams.web_server import MAX_BODY_BYTES
from tests.unit.web.conftest import EDGE_TOKEN, READ_TOKEN, WRITE_TOKEN, NewWorker, Visit

CHOICE = "/users/u-1/preferences/marketing/push"
GUARDED: dict[str, tuple[Right, str, str]] = {
    "/users/{user_id}": ("read", "GET", "/users/u-1"),
    "/users/{user_id}/preferences/{category}/{channel}": ("write", "PUT", CHOICE),
    "/locations/{key}": ("edge", "GET", "/locations/u-1"),
    "/notifications/{trigger_id:.+}": ("read", "GET", "/notifications/t-1"),
    "/notifications": ("read", "GET", "/notifications?user=u-1"),
    "/dead-letters": ("read", "GET", "/dead-letters"),
    "/search": ("read", "GET", "/search?q=t-1"),
}
TOKENS: dict[Right, str] = {"read": READ_TOKEN, "write": WRITE_TOKEN, "edge": EDGE_TOKEN}
WRONG = {
    "nothing": None,
    "another token": "Bearer other",
    "a part of it": f"Bearer {READ_TOKEN[:-1]}",
    "more than it": f"Bearer {READ_TOKEN}2",
    "another scheme": f"Basic {READ_TOKEN}",
    "no scheme": READ_TOKEN,
    "scheme alone": "Bearer",
    "not UTF-8": "Bearer \udcff",
    "the token of another right": f"Bearer {WRITE_TOKEN}",
}


def some_settings(**tokens: Secret | None) -> Settings:
    given = {f"web_{right}_token": Secret(token) for right, token in TOKENS.items()} | tokens
    return Settings(region="us", kafka="k:1", shards=("mongodb://m/",), redis="redis://r", **given)  # type: ignore[arg-type]


def bearer(token: str) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("header", WRONG.values(), ids=WRONG)
def test_anything_but_the_token_is_refused_with_401(header: str | None) -> None:
    refused = check_token(header, "read", some_settings())
    assert refused is not None
    assert refused.status == 401
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  "])
def test_the_scheme_is_case_insensitive(scheme: str) -> None:
    assert check_token(f"{scheme}{READ_TOKEN}", "read", some_settings()) is None


@pytest.mark.parametrize("right", get_args(Right))
def test_each_token_gives_its_right_alone(right: Right) -> None:
    allowed = [other for other in TOKENS if check_token(f"Bearer {TOKENS[other]}", right, some_settings()) is None]
    assert allowed == [right]


@pytest.mark.parametrize("token", [None, Secret("")])
@pytest.mark.parametrize("header", ["Bearer ", "Bearer", None, "Bearer None"])
def test_without_a_configured_token_each_request_is_refused_and_the_setting_is_named(
    token: Secret | None, header: str | None
) -> None:
    refused = check_token(header, "read", some_settings(web_read_token=token))
    assert refused is not None
    assert refused.status == 403
    assert "web_read_token" in refused.message


def test_the_views_that_need_a_token() -> None:
    assert {path: view.right for path, view in REGION_VIEWS.items() if view.right is not None} == {
        path: right for path, (right, _, _) in GUARDED.items()
    }
    assert not [path for path, view in WORKER_VIEWS.items() if view.right is not None]


@pytest.mark.parametrize(("right", "method", "path"), GUARDED.values(), ids=GUARDED)
async def test_a_guarded_view_refuses_a_request_without_its_token(
    visit: Visit, right: Right, method: str, path: str
) -> None:
    client = await visit()
    others = [bearer(token) for other, token in TOKENS.items() if other != right]
    for headers in ({}, bearer("guess"), *others):
        response = await client.request(method, path, headers=headers)
        assert response.status == 401
        assert not [token for token in TOKENS.values() if token in str(await response.text())]
    assert (await client.request("HEAD", path)).status in (401, 405)


@pytest.mark.parametrize(("right", "method", "path"), GUARDED.values(), ids=GUARDED)
async def test_a_guarded_view_refuses_each_request_without_a_configured_token(
    visit: Visit, right: Right, method: str, path: str
) -> None:
    client = await visit(**{f"web_{right}_token": None})
    response = await client.request(method, path, headers={"Authorization": "Bearer "})
    assert response.status == 403
    assert f"NOTIFY_WEB_{right.upper()}_TOKEN" in (await response.json())["error"]


async def test_other_workers_have_no_view_of_users(visit: Visit, new_worker: NewWorker) -> None:
    client = await visit(new_worker("critical"))
    for right, method, path in GUARDED.values():
        assert (await client.request(method, path, headers=bearer(TOKENS[right]))).status == 404


async def test_a_body_that_is_too_long_is_refused(visit: Visit) -> None:
    client = await visit()
    response = await client.put(CHOICE, headers=bearer(WRITE_TOKEN), data=b" " * (MAX_BODY_BYTES + 1))
    assert response.status == 413

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b" " * 200

    chunked = await client.put(CHOICE, headers=bearer(WRITE_TOKEN), data=endless())
    assert chunked.status == 413


def lines(caplog: pytest.LogCaptureFixture, action: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if vars(record).get("action") == action]


async def test_each_write_leaves_a_line_without_the_user_id_and_the_token(
    visit: Visit, bounded_log: pytest.LogCaptureFixture
) -> None:
    bounded_log.set_level(logging.INFO)
    client = await visit()
    for _ in range(2):
        response = await client.put(CHOICE, headers=bearer(WRITE_TOKEN), data=b'{"opted_in": "no"}')
    line, _ = map(vars, lines(bounded_log, "audit.write"))
    assert (line["status"], line["user"], line["remote"]) == (response.status, user_digest("u-1"), "127.0.0.1")
    assert "u-1" not in str(line) and WRITE_TOKEN not in str(line)


async def test_many_refusals_leave_one_line_a_minute_and_are_all_counted(
    visit: Visit, bounded_log: pytest.LogCaptureFixture
) -> None:
    client = await visit()
    before = metrics.REGISTRY.get_sample_value("notify_web_refused_total", {"reason": "token"}) or 0.0
    for _ in range(60):
        assert (await client.get("/users/u-1", headers=bearer("a-guess"))).status == 401
    assert metrics.REGISTRY.get_sample_value("notify_web_refused_total", {"reason": "token"}) == before + 60
    (line,) = map(vars, lines(bounded_log, "audit.refused"))
    assert (line["view"], line["status"], line["remote"]) == ("notify:userview", 401, "127.0.0.1")
    assert "a-guess" not in str(line) and "u-1" not in str(line)


@pytest.mark.parametrize("user_id", ["u-1", "ü", "\udcff"])
def test_an_operator_can_compute_what_stands_for_a_user(user_id: str) -> None:
    digest = user_digest(user_id)
    assert digest == user_digest(user_id) and len(digest) == 16 and user_id not in digest
