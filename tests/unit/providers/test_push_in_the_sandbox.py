"""The sandbox's APNs and push service refuse what the originals refuse, with the documented reasons."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import http_ece
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from h2.connection import H2Connection

from devtools.sandbox import apns, web_push
from devtools.sandbox.fault_injection import Failure
from devtools.sandbox.http2_server import Http2Connection, Request
from devtools.sandbox.keys import KEY_ID, NEXT_KEY_ID, SUBJECT, TEAM_ID, TOPIC, pem
from devtools.sandbox.messages import HttpReply, IncomingMessage, PushContent
from devtools.sandbox.web_push import Browser, point
from notify_streams.delivery.providers.apns_errors import REASONS
from notify_streams.delivery.providers.es256 import Es256Key
from notify_streams.records.base64url import base64url
from notify_streams.records.push_subscription import push_subscription
from tests.http2_frames import frames

KEY, OTHER_KEY, BROWSER_KEY = (generate_private_key(SECP256R1()) for _ in range(3))
TEAM_KEYS = {KEY_ID: KEY.public_key(), NEXT_KEY_ID: OTHER_KEY.public_key()}
NOW = time.time()
DEVICE = "ab" * 32
BODY = b'{"aps":{"alert":{"body":"hi"}},"notify_delivery_id":"d","n":1}'


def apns_token(key: Any = KEY, kid: str = KEY_ID, iss: str = TEAM_ID, iat: float = NOW, alg: str = "ES256") -> str:
    return "bearer " + Es256Key(pem(key)).sign({"kid": kid, "alg": alg}, {"iss": iss, "iat": int(iat)})


TOKEN = apns_token()
HEADERS = {":method": "POST", ":path": f"/3/device/{DEVICE}", "authorization": TOKEN, "apns-topic": TOPIC}


def read_apns(body: bytes = BODY, sender: apns.Sender | None = None, **but: str | None) -> IncomingMessage | HttpReply:
    """`but`: headers, without those that are None; `_` stands for `-`."""
    given = HEADERS | {name.replace("_", "-"): text for name, text in but.items()}
    fields = [(name, text) for name, text in given.items() if text is not None]
    return apns.read(NOW, Request(fields, body), sender or apns.Sender(TEAM_KEYS))


APNS: list[tuple[dict[str, Any], tuple[int, str]]] = [
    ({":method": "GET"}, (405, "MethodNotAllowed")),
    ({":path": "/4/device/x"}, (404, "BadPath")),
    ({":path": "/3/device/"}, (400, "MissingDeviceToken")),
    ({":path": "/3/device/" + "xy" * 32}, (400, "BadDeviceToken")),
    ({":path": "/3/device/" + "ab" * 31}, (400, "BadDeviceToken")),
    ({":path": "/3/device/" + "0" * 64}, (400, "BadDeviceToken")),
    ({"authorization": None}, (403, "MissingProviderToken")),
    ({"authorization": "basic x"}, (403, "MissingProviderToken")),
    ({"authorization": "bearer x"}, (403, "InvalidProviderToken")),
    ({"authorization": TOKEN[:-2]}, (403, "InvalidProviderToken")),
    ({"authorization": apns_token(OTHER_KEY)}, (403, "InvalidProviderToken")),
    ({"authorization": apns_token(kid="OTHER")}, (403, "InvalidProviderToken")),
    ({"authorization": apns_token(alg="HS256")}, (403, "InvalidProviderToken")),
    ({"authorization": apns_token(iss="OTHER")}, (403, "InvalidProviderToken")),
    ({"authorization": apns_token(iat=NOW + 120)}, (403, "InvalidProviderToken")),
    ({"authorization": apns_token(iat=NOW - 3700)}, (403, "ExpiredProviderToken")),
    ({"apns_topic": None}, (400, "MissingTopic")),
    ({"apns_topic": "a b"}, (400, "BadTopic")),
    ({"apns_id": "1"}, (400, "BadMessageId")),
    ({"apns_id": "A" * 8 + "-aaaa-aaaa-aaaa-" + "a" * 12}, (400, "BadMessageId")),
    ({"apns_priority": "7"}, (400, "BadPriority")),
    ({"apns_expiration": "-1"}, (400, "BadExpirationDate")),
    ({"apns_expiration": "1.5"}, (400, "BadExpirationDate")),
    ({"apns_push_type": "loud"}, (400, "InvalidPushType")),
    ({"apns_collapse_id": "x" * 65}, (400, "BadCollapseId")),
    ({"body": b""}, (400, "PayloadEmpty")),
    ({"body": b"{}"}, (400, "PayloadEmpty")),
    ({"body": b"x"}, (400, "PayloadEmpty")),
    ({"body": b'{"a":"' + b"x" * 4089 + b'"}'}, (413, "PayloadTooLarge")),
]


@pytest.mark.parametrize(("but", "refused"), APNS, ids=[reason for _, (_, reason) in APNS])
def test_apns_refuses_with_its_reason(but: dict[str, Any], refused: tuple[int, str]) -> None:
    found = read_apns(**but)
    assert isinstance(found, HttpReply)
    assert (found.status, found.body) == (refused[0], {"reason": refused[1]})
    assert refused[1] in REASONS


@pytest.mark.parametrize(
    "but",
    [
        {},
        {"apns_id": "0" * 8 + "-aaaa-bbbb-cccc-" + "d" * 12, "apns_priority": "1", "apns_push_type": "background"},
        {"apns_collapse_id": "x" * 64, "apns_expiration": "0"},
        {"body": b'{"a":"' + b"x" * 4088 + b'"}'},
        {"body": b'{"a":"' + b"x" * 5112 + b'"}', "apns_push_type": "voip"},
        {"authorization": apns_token(iat=NOW - 3500)},
    ],
)
def test_apns_takes_what_is_valid(but: dict[str, Any]) -> None:
    found = read_apns(**but)
    assert isinstance(found, IncomingMessage), found
    assert (found.provider, found.channel, found.to) == ("apns", "push", DEVICE)


def test_apns_refuses_a_header_that_is_there_twice() -> None:
    found = apns.read(NOW, Request([*HEADERS.items(), ("apns-topic", TOPIC)], BODY), apns.Sender(TEAM_KEYS))
    assert isinstance(found, HttpReply) and found.body == {"reason": "DuplicateHeaders"}


def test_a_message_of_apns_has_its_metadata_and_keeps_no_token() -> None:
    found = read_apns(apns_collapse_id="balance")
    assert isinstance(found, IncomingMessage)
    assert found.metadata == {"notify_delivery_id": "d"}
    content = msgspec.json.decode(found.content, type=PushContent)
    assert content.headers == {"apns-topic": TOPIC, "apns-collapse-id": "balance"}
    assert bytes(content.payload) == BODY
    assert TOKEN.removeprefix("bearer ").encode() not in found.content


def test_the_tokens_of_a_connection_are_renewed_once_in_20_minutes() -> None:
    sender = apns.Sender(TEAM_KEYS)
    first, second = apns_token(iat=NOW), apns_token(iat=NOW + 1)
    assert sender.refusal(first, NOW) is None
    refused = sender.refusal(second, NOW + 1199)
    assert refused is not None and (refused.status, refused.body["reason"]) == (429, "TooManyProviderTokenUpdates")
    assert sender.refusal(first, NOW + 1199) is None
    assert sender.refusal(second, NOW + 1200) is None


def test_a_connection_stays_with_the_key_of_its_first_push() -> None:
    sender = apns.Sender(TEAM_KEYS)
    assert sender.refusal(apns_token(), NOW) is None
    refused = sender.refusal(apns_token(OTHER_KEY, kid=NEXT_KEY_ID), NOW + 1200)
    assert refused is not None and (refused.status, refused.body["reason"]) == (403, "UnrelatedKeyIdInToken")
    assert apns.Sender(TEAM_KEYS).refusal(apns_token(OTHER_KEY, kid=NEXT_KEY_ID), NOW) is None


@pytest.mark.parametrize("status", [400, 403, 404, 405, 410, 413, 429, 500, 503, 599])
def test_a_fault_of_apns_has_a_documented_reason(status: int) -> None:
    reply = apns.failed(Failure(status))
    assert reply.status == status and reply.body["reason"] in REASONS
    assert apns.failed(Failure(status, code="Shutdown", retry_after_s=7.5)) == HttpReply(
        status, {"reason": "Shutdown"}, 7.5
    )


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True


def test_after_goaway_what_was_asked_is_answered_and_the_rest_ignored() -> None:
    asked: list[int] = []
    server, wire, client = Http2Connection(lambda _, stream: asked.append(stream), {}), Wire(), H2Connection()
    server.connection_made(wire)
    client.initiate_connection()
    for stream in (1, 3, 5):
        if stream == 5:
            wire.written = b""
            server.leave()
        client.send_headers(
            stream, [*{":method": "POST", ":scheme": "https", ":authority": "a", ":path": "/"}.items()], True
        )
        server.data_received(client.data_to_send())
    assert asked == [1, 3]
    server.respond(3, 200, b"")
    assert not wire.closed
    server.respond(1, 200, b"x")
    assert wire.closed
    assert frames(wire.written) == [("GoAwayFrame", 3), ("HeadersFrame", 3), ("HeadersFrame", 1), ("DataFrame", 1)]


@pytest.mark.parametrize("leave", [lambda client: client.reset_stream(1), lambda client: client.close_connection()])
def test_an_answer_to_a_client_that_has_left_is_dropped(leave: Callable[[H2Connection], None]) -> None:
    server, wire, client = Http2Connection(lambda *_: None, {}), Wire(), H2Connection()
    server.connection_made(wire)
    client.initiate_connection()
    client.send_headers(1, [*{":method": "POST", ":scheme": "https", ":authority": "a", ":path": "/"}.items()], True)
    server.data_received(client.data_to_send())
    leave(client)
    server.data_received(client.data_to_send())
    wire.written = b""
    server.allow_streams(5)
    server.respond(1)
    assert not {name for name, _ in frames(wire.written)} & {"HeadersFrame", "DataFrame"}


BROWSER = Browser(BROWSER_KEY)
ENDPOINT = "https://127.0.0.1:4/push/a"
CONTENT = b'{"notification":{"body":"hi"},"data":{"notify_delivery_id":"d","n":1}}'


def encrypted(content: bytes = CONTENT, key: Any = BROWSER_KEY, **but: Any) -> bytes:
    sub = push_subscription(Browser(key).subscription(ENDPOINT))
    assert sub is not None
    given = {"private_key": generate_private_key(SECP256R1()), "dh": sub.p256dh, "auth_secret": sub.auth, **but}
    return bytes(http_ece.encrypt(content, version="aes128gcm", **given))


def vapid(key: Any = KEY, sign: Any = None, header: dict[str, Any] | None = None, **but: Any) -> str:
    claims = {"aud": "https://127.0.0.1:4", "exp": int(NOW) + 3600, "sub": SUBJECT, **but}
    claims = {name: value for name, value in claims.items() if value is not None}
    token = Es256Key(pem(sign or key)).sign({"typ": "JWT"}, claims)
    return f"vapid t={token}, k={base64url(point(key.public_key()))}"


def read_web_push(body: bytes | None = None, **but: str | None) -> IncomingMessage | HttpReply:
    given = {"ttl": "60", "urgency": "high", "content-encoding": "aes128gcm", "authorization": vapid()}
    headers = {name: text for name, text in {**given, **but}.items() if text is not None}
    body = encrypted() if body is None else body
    return web_push.read(NOW, ENDPOINT, headers, body, KEY.public_key(), BROWSER)


def tampered(body: bytes) -> bytes:
    return body[:-1] + bytes([body[-1] ^ 1])


WEB_PUSH: list[tuple[dict[str, Any], int, str]] = [
    ({"ttl": None}, 400, "TTL"),
    ({"ttl": "-1"}, 400, "TTL"),
    ({"urgency": "urgent"}, 400, "Urgency"),
    ({"topic": "x" * 33}, 400, "Topic"),
    ({"topic": "a b"}, 400, "Topic"),
    ({"topic": "x" * 13}, 400, "Topic"),
    ({"content-encoding": "aesgcm"}, 400, "aes128gcm"),
    ({"authorization": None}, 401, "no VAPID"),
    ({"authorization": "WebPush x"}, 401, "no VAPID"),
    ({"authorization": "vapid t=x"}, 401, "no VAPID"),
    ({"authorization": "vapid t=x, k=!"}, 403, "not valid"),
    ({"authorization": vapid(OTHER_KEY, sign=KEY)}, 403, "the subscription belongs to another key"),
    ({"authorization": vapid(sign=OTHER_KEY)}, 403, "another key has signed it"),
    ({"authorization": vapid(aud="https://127.0.0.1:5")}, 403, "https://127.0.0.1:4"),
    ({"authorization": vapid(sub=None)}, 403, "subject"),
    ({"authorization": vapid(sub="ops")}, 403, "subject"),
    ({"authorization": vapid(sub="mailto:ops@localhost")}, 403, "subject"),
    ({"authorization": vapid(sub="mailto:ops@company.invalid")}, 403, "subject"),
    ({"authorization": vapid(sub="https://localhost/contact")}, 403, "subject"),
    ({"authorization": vapid(exp=int(NOW) - 1)}, 403, "expired"),
    ({"authorization": vapid(exp=int(NOW) + 25 * 3600)}, 403, "24 hours"),
    ({"authorization": vapid(exp=None)}, 403, "expired"),
    ({"body": b""}, 400, "decrypt"),
    ({"body": b"x" * 200}, 400, "decrypt"),
    ({"body": tampered(encrypted())}, 400, "decrypt"),
    ({"body": encrypted(key=OTHER_KEY)}, 400, "decrypt"),
    ({"body": encrypted(auth_secret=b"x" * 16)}, 400, "decrypt"),
    ({"body": encrypted(rs=40)}, 400, "one record"),
    ({"body": encrypted(b"x" * 3994)}, 413, "4096"),
]


@pytest.mark.parametrize(("but", "status", "text"), WEB_PUSH, ids=[text for *_, text in WEB_PUSH])
def test_the_push_service_refuses_with_its_status(but: dict[str, Any], status: int, text: str) -> None:
    found = read_web_push(**but)
    assert isinstance(found, HttpReply), found
    assert found.status == status and text in found.body["error"]


@pytest.mark.parametrize(
    "but", [{}, {"urgency": None}, {"topic": "x" * 32}, {"ttl": "0"}, {"body": encrypted(b"x" * 3993)}]
)
def test_the_push_service_takes_what_is_valid(but: dict[str, Any]) -> None:
    found = read_web_push(**but)
    assert isinstance(found, IncomingMessage), found
    assert (found.provider, found.channel, found.to) == ("web_push", "push", BROWSER.subscription(ENDPOINT))


def test_a_token_without_a_signature_is_refused() -> None:
    head, claims, _ = vapid().removeprefix("vapid t=").partition(",")[0].split(".")
    none = base64url(b'{"alg":"none"}')
    for token in (f"{none}.{claims}.", f"{head}.{claims}.", f"{head}.{claims}", ""):
        found = read_web_push(authorization=f"vapid t={token}, k={base64url(point(KEY.public_key()))}")
        assert isinstance(found, HttpReply) and found.status in (401, 403), token


def test_a_message_of_web_push_is_kept_decrypted() -> None:
    found = read_web_push(topic="balance")
    assert isinstance(found, IncomingMessage)
    assert found.metadata == {"notify_delivery_id": "d"}
    content = msgspec.json.decode(found.content, type=PushContent)
    assert content.headers == {"ttl": "60", "urgency": "high", "topic": "balance"}
    assert bytes(content.payload) == CONTENT


def test_a_subscription_is_one_that_devices_may_have() -> None:
    found = push_subscription(BROWSER.subscription(ENDPOINT))
    assert found is not None and found.endpoint == ENDPOINT
    assert (len(found.auth), found.p256dh) == (16, point(BROWSER_KEY.public_key()))
