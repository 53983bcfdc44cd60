"""The layout of the operators' pages: escaping, the policy, errors as pages for browsers."""

import re

import pytest
from jinja2 import UndefinedError

from notify_streams.web.pages.rendering import Frame, page_headers, render, wants_json, wants_page
from tests.unit.web.conftest import Visit

HOSTILE = "<img src=x onerror=alert(1)>\"'&"
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def test_all_text_is_escaped() -> None:
    page = render("error.html", Frame(HOSTILE, HOSTILE), heading=HOSTILE, text=HOSTILE)
    assert page.count("&lt;img src=x onerror=alert(1)&gt;&#34;&#39;&amp;") >= 4
    assert "<img" not in page and "onerror=alert(1)>" not in page


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("error.html", Frame("us", "/"), heading="Not Found")


def test_each_page_has_a_policy_with_a_nonce_of_its_own() -> None:
    first, second = Frame("us", "/"), Frame("us", "/")
    assert first.nonce != second.nonce
    policy = page_headers(first)["Content-Security-Policy"]
    assert "default-src 'none'" in policy and f"script-src 'nonce-{first.nonce}'" in policy and "unsafe" not in policy
    page = render("error.html", first, heading="Not Found", text="")
    assert f'<style nonce="{first.nonce}">' in page and " style=" not in page
    assert not re.search(r"""(src|href)=["'](https?:)?//""", page)


@pytest.mark.parametrize(
    ("accept", "page", "json"),
    [
        ("application/json", False, True),
        ("*/*", False, False),
        ("", False, False),
        ("text/html,application/xhtml+xml,application/json;q=0.5", True, False),
    ],
)
def test_browsers_get_pages_and_clients_json_on_request(accept: str, page: bool, json: bool) -> None:
    assert wants_page({"Accept": accept}) is page
    assert wants_json({"Accept": accept}) is json


@pytest.mark.parametrize("path", ["/ledger", "/outbox"])
async def test_an_error_is_a_page_for_a_browser(visit: Visit, path: str) -> None:
    client = await visit()
    response = await client.get(path, headers=BROWSER)
    assert (response.status, response.content_type) == (503, "text/html")
    assert response.headers["Retry-After"] == "1"
    assert "try again" in await response.text()
    assert (await client.get(path)).content_type == "application/json"
