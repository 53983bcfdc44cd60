"""Views that show a user's data or change something need the bearer token."""

from collections.abc import AsyncIterator

import pytest

from notify_streams.secret import Secret
from notify_streams.web import VIEWS
from notify_streams.web.auth import check_token
from notify_streams.web.request_body import MAX_BODY_BYTES
from tests.unit.web.conftest import Visit

GUARDED = {
    "/users/{user_id}": ("GET", "/users/u-1"),
    "/users/{user_id}/preferences/{category}/{channel}": ("PUT", "/users/u-1/preferences/marketing/push"),
    "/locations/{key}": ("GET", "/locations/u-1"),
    "/notifications/{trigger_id}": ("GET", "/notifications/t-1"),
    "/dead-letters": ("GET", "/dead-letters"),
}
TOKEN = Secret("the-token")
RIGHT = {"Authorization": "Bearer the-token"}

WRONG = {
    "nothing": None,
    "another token": "Bearer other",
    "a part of it": "Bearer the-toke",
    "more than it": "Bearer the-token2",
    "another scheme": "Basic the-token",
    "no scheme": "the-token",
    "scheme alone": "Bearer",
    "not UTF-8": "Bearer \udcff",
}


@pytest.mark.parametrize("header", WRONG.values(), ids=WRONG)
def test_anything_but_the_token_is_refused_with_401(header: str | None) -> None:
    refused = check_token(header, TOKEN)
    assert refused is not None
    assert refused.status == 401
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("header", ["Bearer the-token", "bearer the-token", "BEARER  the-token "])
def test_the_scheme_is_case_insensitive(header: str | None) -> None:
    assert check_token(header, TOKEN) is None


@pytest.mark.parametrize("token", [None, Secret("")])
@pytest.mark.parametrize("header", ["Bearer ", "Bearer", None, "Bearer None"])
def test_without_a_configured_token_each_request_is_refused_and_the_setting_is_named(
    token: Secret | None, header: str | None
) -> None:
    refused = check_token(header, token)
    assert refused is not None
    assert refused.status == 403
    assert "web_token" in refused.message


def test_the_views_that_need_a_token() -> None:
    assert {path for path, view in VIEWS.items() if view.needs_token} == set(GUARDED)


@pytest.mark.parametrize(("method", "path"), GUARDED.values(), ids=GUARDED)
async def test_a_guarded_view_refuses_a_request_without_the_token(visit: Visit, method: str, path: str) -> None:
    client = await visit()
    for headers in ({}, {"Authorization": "Bearer guess"}):
        response = await client.request(method, path, headers=headers)
        assert response.status == 401
        assert "the-token" not in await response.text()
    assert (await client.request("HEAD", path)).status in (401, 405)


@pytest.mark.parametrize(("method", "path"), GUARDED.values(), ids=GUARDED)
async def test_a_guarded_view_refuses_each_request_without_a_configured_token(
    visit: Visit, method: str, path: str
) -> None:
    client = await visit(web_token=None)
    response = await client.request(method, path, headers={"Authorization": "Bearer "})
    assert response.status == 403
    assert "NOTIFY_WEB_TOKEN" in (await response.json())["error"]


async def test_a_body_that_is_too_long_is_refused(visit: Visit) -> None:
    client = await visit()
    path = GUARDED["/users/{user_id}/preferences/{category}/{channel}"][1]
    response = await client.put(path, headers=RIGHT, data=b" " * (MAX_BODY_BYTES + 1))
    assert response.status == 413

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b" " * 200

    chunked = await client.put(path, headers=RIGHT, data=endless())
    assert chunked.status == 413
