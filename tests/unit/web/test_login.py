"""A browser's session: what gives one, what ends it, and what it may do."""

from __future__ import annotations

import logging
import time
from http.cookies import SimpleCookie
from itertools import count, islice
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from notify_streams.secret import Secret
from notify_streams.settings import Settings
from notify_streams.web.auth import is_same_origin
from notify_streams.web.login import LoginLimit, local_path, login_limit
from notify_streams.web.sessions import SESSION_S, SessionRight, cookie_name, has_session, new_session
from notify_streams.web.worker_objects import one_for
from tests.unit.web.conftest import EDGE_TOKEN, READ_TOKEN, WRITE_TOKEN, NewWorker, Visit

BROWSER = {"Accept": "text/html,*/*;q=0.8"}
OWN_PAGE = {**BROWSER, "Sec-Fetch-Site": "same-origin"}
CHOICE = "/users/u-1/preferences/marketing/push"
NOW = 1_800_000_000.0


def some_settings(**but: Any) -> Settings:
    tokens = {"web_read_token": Secret(READ_TOKEN), "web_write_token": Secret(WRITE_TOKEN)}
    return msgspec.structs.replace(
        Settings(region="us", kafka="k:1", shards=("mongodb://m/",), redis="redis://r"), **(tokens | but)
    )


def cookies(value: str, right: SessionRight = "read") -> dict[str, str]:
    return {cookie_name(some_settings(), right): value}


async def log_in(client: Any, token: str, target: str = "/", **headers: str) -> Any:
    return await client.post(
        f"/login?next={quote(target)}", data={"token": token}, headers=OWN_PAGE | headers, allow_redirects=False
    )


def test_a_session_lasts_eight_hours_and_does_not_hold_the_token() -> None:
    settings = some_settings()
    value = new_session(settings, "read", NOW)
    assert has_session(cookies(value), settings, "read", NOW)
    assert has_session(cookies(value), settings, "read", NOW + SESSION_S - 1)
    assert not has_session(cookies(value), settings, "read", NOW + SESSION_S)
    assert READ_TOKEN not in value
    assert value != new_session(settings, "read", NOW)


@pytest.mark.parametrize(
    "but",
    [{"web_read_token": Secret("another-token-to-read")}, {"web_read_token": None}, {"region": "eu"}],
    ids=["a new token", "no token", "another region"],
)
def test_a_session_ends_with_its_token_and_its_region(but: dict[str, Any]) -> None:
    value = new_session(some_settings(), "read", NOW)
    other = some_settings(**but)
    assert not has_session({cookie_name(other, "read"): value}, other, "read", NOW)


@pytest.mark.parametrize(
    "changed",
    [
        lambda value: "",
        lambda value: value[:-1] + ("0" if value[-1] != "0" else "1"),
        lambda value: f"9{value}",
        lambda value: f"{value}\udcff",
        lambda value: f"{int(value.split('.')[0]) + 60}.{value.split('.', 1)[1]}",
        lambda value: READ_TOKEN,
        lambda value: f"{value}{'0' * 10_000}",
        lambda value: new_session(some_settings(), "write", NOW),
    ],
)
def test_no_other_value_is_a_session(changed: Any) -> None:
    assert not has_session(cookies(changed(new_session(some_settings(), "read", NOW))), some_settings(), "read", NOW)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/users/ann", "/users/ann"),
        ("/dead-letters?values=true", "/dead-letters?values=true"),
        ("/notifications/a%2Fb", "/notifications/a%2Fb"),
        (None, "/"),
        ("", "/"),
        ("users", "/"),
        ("https://example.org/", "/"),
        ("//example.org/", "/"),
        ("/\\example.org", "/"),
        ("\\\\example.org", "/"),
        ("/\t/example.org", "/"),
        ("/\n/example.org", "/"),
        ("/users/a b", "/"),
        ("javascript:alert(1)", "/"),
        ("/" + "a" * 3_000, "/"),
        ("/login?next=/login", "/"),
    ],
)
def test_a_login_leads_to_a_path_of_this_server_only(text: str | None, path: str) -> None:
    assert local_path(text) == path


@pytest.mark.parametrize(
    ("headers", "same"),
    [
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, True),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://us.example.org"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Origin": "http://us.example.org"}, True),
        ({"Origin": "http://us.example.org:81"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://[us.example.org"}, False),
        ({"Origin": "http://us.example.org\u2100"}, False),
        ({}, False),
    ],
)
def test_a_request_is_of_the_same_origin_only_if_the_browser_says_so(headers: dict[str, str], same: bool) -> None:
    assert is_same_origin({"Host": "us.example.org", **headers}) is same
    assert not is_same_origin({"Origin": ""})


async def test_an_origin_that_is_no_url_is_a_refusal_and_no_error_in_the_log(
    visit: Visit, caplog: pytest.LogCaptureFixture
) -> None:
    client = await visit()
    odd = {**BROWSER, "Origin": "http://["}
    assert (await client.post("/login", data={"token": WRITE_TOKEN}, headers=odd)).status == 403
    session = cookies(new_session(some_settings(), "write", time.time()), "write")
    assert (await client.put(CHOICE, data=b"{}", headers=odd, cookies=session)).status == 403
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]


async def test_the_token_gives_a_cookie_that_opens_pages(visit: Visit, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    client = await visit()
    answer = await log_in(client, READ_TOKEN, "/users/ann")
    assert (answer.status, answer.headers["Location"]) == (303, "/users/ann")
    (cookie,) = SimpleCookie(answer.headers["Set-Cookie"]).values()
    assert (cookie.key, cookie["path"], cookie["samesite"]) == ("notify_us_read", "/", "Strict")
    assert cookie["httponly"] and not cookie["secure"] and int(cookie["max-age"]) == SESSION_S
    assert READ_TOKEN not in str(answer.headers)
    assert (await client.get("/users/ann", headers=BROWSER, allow_redirects=False)).status == 503  # no service runs
    page = await (await client.get("/login", headers=BROWSER)).text()
    assert "Log out" in page
    assert (await client.get("/login?next=/users/ann", headers=BROWSER, allow_redirects=False)).status == 303
    form = await client.get("/login?right=write&next=/users/ann", headers=BROWSER, allow_redirects=False)
    assert form.status == 200 and "This browser may read people" in await form.text()
    (line,) = [vars(one) for one in caplog.records if vars(one).get("action") == "audit.login"]
    assert line["right"] == "read" and READ_TOKEN not in str(line)


async def test_a_cookie_of_https_is_sent_over_https_only(visit: Visit) -> None:
    answer = await log_in(await visit(), READ_TOKEN, **{"X-Forwarded-Proto": "https"})
    (cookie,) = SimpleCookie(answer.headers["Set-Cookie"]).values()
    assert cookie["secure"]


async def test_without_a_session_a_browser_is_led_to_the_form_and_a_client_gets_401(visit: Visit) -> None:
    client = await visit()
    answer = await client.get("/users/a%2Fb?x=1", headers=BROWSER, allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/login?next=/users/a%252Fb%3Fx%3D1")
    form = await (await client.get(answer.headers["Location"], headers=BROWSER)).text()
    assert 'action="/login?next=/users/a%252Fb%3Fx%3D1"' in form
    page = await (await client.get("/templates?locale=de", headers=BROWSER)).text()
    assert 'href="/login?next=/templates"' in page
    for headers in ({}, {"Accept": "application/json"}):
        refused = await client.get("/users/ann", headers=headers, allow_redirects=False)
        assert (refused.status, refused.content_type) == (401, "application/json")


@pytest.mark.parametrize("token", ["", "wrong", READ_TOKEN[:-1], EDGE_TOKEN, "ü", "\x00"])
async def test_another_token_gives_none(visit: Visit, token: str) -> None:
    client = await visit()
    answer = await log_in(client, token)
    assert answer.status == 401 and "Set-Cookie" not in answer.headers
    assert "This is not the token." in await answer.text()
    assert (await client.post("/login", data=b"\xff=%", headers=OWN_PAGE)).status == 401


async def test_a_wrong_token_that_is_sent_again_and_again_is_limited(visit: Visit) -> None:
    client = await visit()
    statuses = [(await log_in(client, "guess")).status for _ in range(11)]
    assert statuses == [401] * 10 + [429]
    answer = await log_in(client, "guess")
    assert answer.status == 429 and 0 < int(answer.headers["Retry-After"]) <= 60


async def test_wrong_tokens_keep_nobody_out_who_has_the_same_address(visit: Visit, new_worker: NewWorker) -> None:
    worker = new_worker()
    client = await visit(worker)
    limit = one_for(worker, login_limit)
    guesses = (f"guess-{number}" for number in count())
    others = [one for one in islice(guesses, 60) if limit.group_of(one) != limit.group_of(READ_TOKEN)]
    assert {(await log_in(client, one)).status for one in others} == {401}
    assert (await log_in(client, READ_TOKEN)).status == 303
    same_group = (one for one in guesses if limit.group_of(one) == limit.group_of(READ_TOKEN))
    assert {(await log_in(client, one)).status for one in islice(same_group, 10)} == {401}
    assert (await log_in(client, READ_TOKEN)).status == 429  # who guesses has no more than ten of each group


def test_the_limit_is_of_each_address_and_group_for_a_minute_and_bounded() -> None:
    limit = LoginLimit()
    other = next(text for text in map(str, count()) if limit.group_of(text) != limit.group_of("t"))
    for _ in range(10):
        assert limit.wait_s("a", "t", 0.0) == 0
        limit.failed("a", "t", 0.0)
    assert limit.wait_s("a", "t", 1.0) == 59 and limit.wait_s("b", "t", 1.0) == limit.wait_s("a", other, 1.0) == 0
    assert limit.wait_s("a", "t", 60.0) == 0
    for number in range(20_000):
        limit.failed(f"other-{number}", "t", 2.0)
    assert limit.wait_s("a", "t", 3.0) == 0  # forgotten: the memory is bounded


def test_an_address_tries_a_bounded_number_of_tokens_in_a_minute() -> None:
    limit = LoginLimit()
    tried = 0
    for number in range(10_000):
        if not limit.wait_s("a", str(number), 0.0):
            limit.failed("a", str(number), 0.0)
            tried += 1
    assert tried <= 2_560


async def test_another_site_can_neither_log_in_nor_log_out(visit: Visit) -> None:
    client = await visit()
    for site in ("cross-site", "same-site", "none"):
        answer = await log_in(client, READ_TOKEN, **{"Sec-Fetch-Site": site})
        assert answer.status == 403 and "Set-Cookie" not in answer.headers
        assert (await client.post("/logout", headers=BROWSER | {"Sec-Fetch-Site": site})).status == 403


async def test_a_link_of_another_site_finds_the_session_at_its_second_request(visit: Visit) -> None:
    client = await visit()
    page = await (await client.get("/login?next=/users/a", headers={**BROWSER, "Sec-Fetch-Site": "cross-site"})).text()
    assert '<meta http-equiv="refresh" content="0; url=/login?next=/users/a">' in page


async def test_logging_out_removes_the_cookies(visit: Visit) -> None:
    client = await visit()
    await log_in(client, READ_TOKEN)
    answer = await client.post("/logout", headers=OWN_PAGE, allow_redirects=False)
    assert answer.status == 303
    assert (await client.get("/users/ann", headers=BROWSER, allow_redirects=False)).status == 303


async def test_a_session_writes_from_a_page_of_its_own_origin_only(visit: Visit) -> None:
    client = await visit()
    await log_in(client, WRITE_TOKEN)
    for site in ("cross-site", "same-site", "none"):
        for method in ("POST", "PUT"):
            answer = await client.request(
                method, CHOICE, data=b"opted_in=true", headers={**BROWSER, "Sec-Fetch-Site": site}
            )
            assert answer.status == 403
    assert (await client.post(CHOICE, data=b"opted_in=true")).status == 403  # says nothing about its origin
    assert (await client.post(CHOICE, data=b"opted_in=maybe", headers=OWN_PAGE)).status == 400
    assert (await client.post(CHOICE, data=b"opted_in=true", headers=OWN_PAGE)).status == 503  # no service runs
    own = {"Origin": str(client.make_url("/")).rstrip("/")}
    assert (await client.post(CHOICE, data=b"opted_in=true", headers=own)).status == 503


async def test_the_right_to_read_does_not_write_and_a_token_wins_over_a_session(visit: Visit) -> None:
    client = await visit()
    await log_in(client, READ_TOKEN)
    assert (await client.post(CHOICE, data=b"opted_in=true", headers=OWN_PAGE)).status == 401
    assert (await client.get("/users/ann", headers={"Authorization": "Bearer wrong"})).status == 401


async def test_a_region_without_tokens_says_which_setting_is_missing(visit: Visit) -> None:
    client = await visit(web_read_token=None, web_write_token=None)
    page = await (await client.get("/login", headers=BROWSER)).text()
    assert "NOTIFY_WEB_READ_TOKEN" in page and 'name="token"' not in page
    answer = await client.get("/users/ann", headers=BROWSER, allow_redirects=False)
    assert answer.status == 403 and "NOTIFY_WEB_READ_TOKEN" in await answer.text()
    assert (await log_in(client, "")).status == 401
