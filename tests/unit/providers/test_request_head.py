"""The head of a request has what was given, and nothing that a value smuggles in."""

from __future__ import annotations

import pytest

from notify_streams.delivery.providers.http.request_head import Server, request_head, server_and_target


@pytest.mark.parametrize(
    ("url", "server", "target", "host"),
    [
        ("https://fcm.example/v1/m:send", Server(True, "fcm.example", 443), "/v1/m:send", "fcm.example"),
        ("http://127.0.0.1:8080", Server(False, "127.0.0.1", 8080), "/", "127.0.0.1:8080"),
        ("https://[::1]:8443/a?b=c&d#e", Server(True, "::1", 8443), "/a?b=c&d", "[::1]:8443"),
        ("https://Twilio.example?x=y", Server(True, "twilio.example", 443), "/?x=y", "Twilio.example"),
    ],
)
def test_a_url_gives_server_and_target(url: str, server: Server, target: str, host: str) -> None:
    first_lines = f"POST {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: notify-streams\r\n"
    assert server_and_target(url) == (server, first_lines)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "fcm.example/v1",
        "ftp://fcm.example/",
        "https:///v1",
        "https://u:p@fcm.example/",
        "https://fcm.example:99999/",
        "https://fcm.example:x/",
        "https://fcm.example/a b",
        "https://fcm.example/a\r\nX: y",
        "https://fcm.example/a\tb",
        "https://fcm.example/ü",
        "https://[::1/",
    ],
)
def test_an_invalid_url_is_an_error(url: str) -> None:
    with pytest.raises(ValueError):
        server_and_target(url)


def test_headers_are_sent_as_they_are() -> None:
    head = request_head("POST / HTTP/1.1\r\n", {"Authorization": "Bearer \t~é", "X-Empty": ""})
    assert head == b"POST / HTTP/1.1\r\nAuthorization: Bearer \t~\xe9\r\nX-Empty: \r\nContent-Length: "


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("Authorization", f"a{bad}b") for bad in ("\r", "\n", "\0", "\x7f", "\x1b", "€")),
        ("Authorization", "a\n"),
        *((name, "a") for name in ("", "a b", "a:", "a\r\nb", "ä", "a\n")),
        *((name, "a") for name in ("Content-Length", "TRANSFER-ENCODING", "host", "Connection", "Expect")),
    ],
)
def test_a_header_that_changes_the_request_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError):
        request_head("POST / HTTP/1.1\r\n", {name: value})
