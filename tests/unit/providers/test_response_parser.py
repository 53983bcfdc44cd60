"""A response is the same however it is cut, and nothing else than a response is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.delivery.providers.http.response_parser import MAX_BODY, MAX_HEAD, ResponseParser
from notify_streams.delivery.providers.http_responses import HttpResponse

INTERIM = [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 7\r\n\r\n"]


def chunked(parts: list[bytes], trailer: bytes = b"") -> bytes:
    return b"".join(b"%x;a=b\r\n%b\r\n" % (len(part), part) for part in parts if part) + b"0\r\n" + trailer + b"\r\n"


@st.composite
def responses(draw: st.DrawFn) -> tuple[bytes, HttpResponse]:
    """The bytes of a response, and what they mean."""
    status = draw(st.sampled_from([200, 201, 302, 400, 404, 429, 500, 503]))
    parts = draw(st.lists(st.binary(max_size=40), max_size=4))
    retry_after = draw(st.sampled_from([None, 7.5]))
    head = b"HTTP/1.1 %d Some Reason\r\nset-cookie: a=b\r\n" % status
    head += b"" if retry_after is None else b"retry-AFTER:  7.5\r\nRetry-After: 9\r\n"
    if draw(st.booleans()):
        trailer = draw(st.sampled_from([b"", b"Retry-After: 1\r\nX-Sum: 3\r\n"]))
        message = head + b"Transfer-Encoding: Chunked\r\n\r\n" + chunked(parts, trailer)
    else:
        body = b"".join(parts)
        message = head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    interim = draw(st.lists(st.sampled_from(INTERIM), max_size=2))
    return b"".join(interim) + message, HttpResponse(status, retry_after, b"".join(parts))


@given(responses(), responses(), st.data())
def test_where_a_response_is_cut_makes_no_difference(
    first: tuple[bytes, HttpResponse], second: tuple[bytes, HttpResponse], data: st.DataObject
) -> None:
    parser = ResponseParser()
    for raw, expected in (first, second):
        cuts = sorted(data.draw(st.sets(st.integers(1, len(raw) - 1), max_size=8)))
        pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
        assert [parser.feed(piece) for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
        assert parser.feed(memoryview(pieces[-1])) == expected
        assert parser.reusable


@given(responses(), st.data())
def test_a_cut_response_is_none(response: tuple[bytes, HttpResponse], data: st.DataObject) -> None:
    parser = ResponseParser()
    cut = data.draw(st.integers(0, len(response[0]) - 1))
    assert parser.feed(response[0][:cut]) is None
    assert parser.end() is None


@given(
    st.lists(st.binary(max_size=60) | st.sampled_from([*INTERIM, b"HTTP/1.1 200 OK\r\n", b"\r\n", b"Retry-After: "]))
)
def test_bytes_of_any_kind_are_a_response_or_a_value_error(pieces: list[bytes]) -> None:
    parser = ResponseParser()
    try:
        for piece in pieces:
            if parser.feed(piece) is not None or not parser.reusable:
                return
    except ValueError:
        return
    parser.end()


@given(responses(), st.binary(min_size=1).filter(lambda rest: rest.strip(b"\r\n")))
def test_what_follows_a_response_does_not_change_it(response: tuple[bytes, HttpResponse], rest: bytes) -> None:
    parser = ResponseParser()
    assert parser.feed(response[0] + rest) == response[1]
    assert not parser.reusable


@pytest.mark.parametrize(
    ("head", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", True),
    ],
)
def test_a_connection_is_kept_if_the_server_keeps_it(head: bytes, reusable: bool) -> None:
    parser = ResponseParser()
    assert parser.feed(head) is not None
    assert parser.reusable is reusable


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_body_without_length_ends_with_the_connection(version: bytes) -> None:
    parser = ResponseParser()
    assert parser.feed(b"HTTP/%b 200 OK\r\n\r\nab" % version) is None
    assert parser.feed(b"c") is None
    assert parser.end() == HttpResponse(200, None, b"abc")
    assert not parser.reusable


MALFORMED = {
    "no HTTP": b"220 mail.example ESMTP\r\n",
    "a letter in the status": b"HTTP/1.1 2x0 OK\r\n\r\n",
    "no status": b"HTTP/1.1\r\n\r\n",
    "a status below 100": b"HTTP/1.1 099 Low\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    "another protocol without its name": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "a blank in a name": b"HTTP/1.1 200 OK\r\nContent Length: 1\r\n\r\na",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a length in the trailer": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 3\r\n\r\n",
    "a chunk without size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "another encoding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "an HTTP/2 frame": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_response_is_an_error(raw: bytes) -> None:
    parser = ResponseParser()
    with pytest.raises(ValueError, match="malformed"):
        parser.feed(raw)
    assert not parser.reusable


TOO_LARGE = {
    "an endless status line": (b"HTTP/1.1 200 ", b"x" * 1000, MAX_HEAD),
    "an endless header": (b"HTTP/1.1 200 OK\r\na: ", b"x" * 1000, MAX_HEAD),
    "endless headers": (b"HTTP/1.1 200 OK\r\n", b"a: b\r\n" * 100, MAX_HEAD),
    "endless interim responses": (b"", INTERIM[0] * 100, MAX_HEAD),
    "an endless body": (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 10_000, MAX_HEAD + MAX_BODY),
    "a body that says so": (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n", b"x" * 10_000, MAX_HEAD + MAX_BODY),
    "endless chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1\r\na\r\n" * 1000,
        MAX_HEAD + MAX_BODY,
    ),
    "endless trailers": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        b"a: b\r\n" * 1000,
        MAX_HEAD + MAX_BODY,
    ),
}


@pytest.mark.parametrize(("begin", "more", "limit"), TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_response_is_bounded(begin: bytes, more: bytes, limit: int) -> None:
    parser = ResponseParser()
    assert begin == b"" or parser.feed(begin) is None
    received = len(begin)
    with pytest.raises(ValueError, match="too large"):
        while received < 2 * limit:
            assert parser.feed(more) is None
            received += len(more)
    assert limit - len(more) < received <= limit


def test_the_largest_body_is_taken() -> None:
    parser = ResponseParser()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MAX_BODY
    assert parser.feed(head + b"x" * (MAX_BODY - 1)) is None
    response = parser.feed(b"x")
    assert response is not None and len(response.body) == MAX_BODY
