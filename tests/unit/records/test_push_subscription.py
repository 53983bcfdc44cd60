"""A Web Push subscription is what browsers give, with an https endpoint and keys of the right sizes."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from notify_streams.records.addresses import is_push_token
from notify_streams.records.base64url import base64url
from notify_streams.records.push_subscription import PushSubscription, push_subscription

POINT, AUTH = b"\x04" + b"p" * 64, b"a" * 16
KEYS = {"p256dh": base64url(POINT), "auth": base64url(AUTH)}
ENDPOINT = "https://push.example/send/abc:DEF_-?x=1"


def text(**but: Any) -> str:
    given = {"endpoint": ENDPOINT, "expirationTime": None, "keys": KEYS} | but
    return json.dumps(given, separators=(",", ":"))


def test_the_text_of_a_browser_is_a_subscription() -> None:
    assert push_subscription(text()) == PushSubscription(ENDPOINT, POINT, AUTH)
    assert push_subscription(text(keys={"p256dh": KEYS["p256dh"] + "=", "auth": KEYS["auth"] + "=="})) is not None
    assert is_push_token(text())


@pytest.mark.parametrize(
    "found",
    [
        "{}",
        "{",
        "[]",
        text(endpoint="http://push.example/a"),
        text(endpoint="https:///a"),
        text(endpoint="https://user@push.example/a"),
        text(endpoint="https://push.example:99999/a"),
        text(endpoint="https://push.example/a#b"),
        text(endpoint="https://push.example/a\r\nX: y"),
        text(endpoint=7),
        text(endpoint="https://[::1/a"),
        text(keys={}),
        text(keys={**KEYS, "auth": base64url(b"a" * 15)}),
        text(keys={**KEYS, "auth": "a+/="}),
        text(keys={**KEYS, "p256dh": base64url(POINT[:-1])}),
        text(keys={**KEYS, "p256dh": base64url(b"\x02" + POINT[1:])}),
    ],
)
def test_anything_else_is_not(found: str) -> None:
    assert push_subscription(found) is None
    assert not found.startswith("{") or not is_push_token(found)


def test_a_subscription_is_longer_than_a_token_and_bounded() -> None:
    """Windows' push service gives endpoints of more than 400 characters."""
    longest = text(endpoint=ENDPOINT + "x" * (2048 - len(text())))
    assert len(longest) == 2048 and is_push_token(longest)
    assert not is_push_token(text(endpoint=ENDPOINT + "x" * (2049 - len(text()))))


def test_text_nested_too_deeply_for_the_stack_is_none() -> None:
    """An agent's own stack counts, too."""

    def at_depth(calls: int) -> object:
        return push_subscription('{"a":' + "[" * 2043) if calls == 0 else at_depth(calls - 1)

    assert at_depth(sys.getrecursionlimit() - 450) is None
