"""Messages of SNS are accepted and refused as Amazon's own validator does, with certificates of a test authority.

The validator is the npm package sns-validator, run by the Node.js of playwright. `devtools.npm` downloads it once.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import rsa

from devtools.npm import node, packages
from notify_streams.errors import RetryLater
from notify_streams.public.sns_client import SnsClient
from notify_streams.public.sns_signature import (
    confirmation_url,
    is_signed,
    read_sns_message,
    refusal_of,
    signing_key,
)
from notify_streams.public.webhook_sources import NOT_SIGNED, RefusedWebhook, SnsSource, Verified
from tests.builders import some_settings
from tests.contract.providers.sns_topic import CERTIFICATE_URL, TOPIC, Authority, serving, signed

PROGRAM = Path(__file__).with_name("sns_validator.js")
PEM_PATH = "/SimpleNotificationService-0a1b2c.pem"
SIGNER = "sns.amazonaws.com"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def ours(message: dict[str, Any], key: rsa.RSAPrivateKey) -> bool:
    found = read_sns_message(orjson.dumps(message))
    return found is not None and is_signed(found, key.public_key())


def changed(random: Random, message: dict[str, Any]) -> dict[str, Any]:
    """One signed field is another, or missing."""
    name = random.choice(["Message", "MessageId", "Timestamp", "TopicArn", "Signature", "SignatureVersion", "Subject"])
    text = message.get(name, "")
    at = random.randrange(len(text) + 1)
    return message | {name: text[:at] + random.choice("aZ09=/ \n") + text[at + random.randrange(2) :]}


def test_the_same_messages_are_taken_as_by_amazon_s_validator(
    authority: Authority, key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    server_key = rsa.generate_private_key(65537, 2048)
    (tmp_path / "ca.pem").write_bytes(authority.pem())
    files = {PEM_PATH: authority.certificate(key, SIGNER)}
    with serving(files, authority.certificate(server_key, "localhost"), server_key, tmp_path) as (port, _):
        url = f"https://localhost:{port}{PEM_PATH}"
        subscription = {
            "Type": "SubscriptionConfirmation",
            "Token": "a1",
            "SubscribeURL": "https://sns.eu-west-1.amazonaws.com/?x",
        }
        messages = [
            signed(key, version, url, **but)
            for version in ("1", "2")
            for but in ({}, {"Subject": "Grüße"}, {"Message": "a\nSubject\nb"}, subscription)
        ]
        random = Random(3)
        messages += [changed(random, random.choice(messages)) for _ in range(200)]
        messages.append(signed(rsa.generate_private_key(65537, 2048), "2", url))
        done = subprocess.run(
            [node(), str(PROGRAM)],
            input=orjson.dumps(messages),
            capture_output=True,
            timeout=20,
            env={
                **os.environ,
                "NODE_PATH": str(packages() / "node_modules"),
                "NODE_EXTRA_CA_CERTS": str(tmp_path / "ca.pem"),
                "HOST": f"localhost:{port}",
            },
        )
    assert done.returncode == 0, done.stderr.decode()
    theirs = orjson.loads(done.stdout)
    assert theirs[:8] == [True] * 8 and not any(theirs[-1:])
    for message, taken in zip(messages, theirs, strict=True):
        # Node.js reads base64 with blanks and without padding; ours must be what SNS writes.
        is_base64 = len(message["Signature"]) == 344 and not set(message["Signature"]) & {" ", "\n"}
        assert ours(message, key) is (taken and is_base64), message


async def test_a_certificate_is_fetched_once_from_a_server_that_an_authority_has_signed(
    authority: Authority, key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    server_key = rsa.generate_private_key(65537, 2048)
    (tmp_path / "ca.pem").write_bytes(authority.pem())
    files = {PEM_PATH: authority.certificate(key, SIGNER)}
    with serving(files, authority.certificate(server_key, "localhost"), server_key, tmp_path) as (port, asked):
        trusting, doubting = SnsClient(str(tmp_path / "ca.pem")), SnsClient(None)
        url = f"https://localhost:{port}{PEM_PATH}"
        found = [await trusting.key(url) for _ in range(2)]
        assert found[0] is not None and found[0].public_numbers() == key.public_key().public_numbers()
        assert [await trusting.key(url + "x") for _ in range(2)] == [None, None]
        assert asked == [PEM_PATH, PEM_PATH + "x"]
        with pytest.raises(RetryLater):
            await doubting.key(url)
        for client in (trusting, doubting):
            await client.close()


async def test_a_certificate_that_comes_in_pieces_is_read_to_its_end(
    authority: Authority, key: rsa.RSAPrivateKey
) -> None:
    pem = authority.certificate(key, SIGNER)

    async def serve(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(pem))})
        await response.prepare(request)
        for piece in (pem[:700], pem[700:]):
            await response.write(piece)
            await asyncio.sleep(0.05)  # so that they are two reads
        return response

    app = web.Application()
    app.router.add_get(PEM_PATH, serve)
    client = SnsClient(None)
    async with TestServer(app) as server:
        assert await client.key(str(server.make_url(PEM_PATH))) is not None
        await client.close()


class CertificateServer(SnsClient):
    """Has one certificate, and holds each answer back until `answers` is set."""

    def __init__(self, pem: bytes) -> None:
        super().__init__(None)
        self._pem = pem
        self.answers = asyncio.Event()
        self.asked: list[str] = []

    async def get(self, url: str) -> bytes | None:
        self.asked.append(url)
        await self.answers.wait()
        return self._pem if url == "good" else None


async def test_urls_without_a_certificate_push_no_key_out_and_are_not_asked_without_limit(
    authority: Authority, key: rsa.RSAPrivateKey
) -> None:
    client = CertificateServer(authority.certificate(key, SIGNER))
    client.answers.set()
    assert await client.key("good") is not None
    for number in range(200):
        assert await client.key(f"bad-{number}") is None
    client.answers.clear()
    assert await client.key("good") is not None
    assert client.asked.count("good") == 1
    waiting = [asyncio.create_task(client.key(f"more-{number}")) for number in range(50)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    client.answers.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert sum(isinstance(one, RetryLater) for one in found) == 34


def test_only_a_certificate_of_sns_that_is_valid_now_has_a_key(authority: Authority, key: rsa.RSAPrivateKey) -> None:
    now = datetime.now(UTC)
    assert signing_key(authority.certificate(key, "sns-signing.me-south-1.amazonaws.com"), now) is not None
    for name in ("www.amazonaws.com", "sns.amazonaws.com.evil.example", "evil-sns.amazonaws.com"):
        assert signing_key(authority.certificate(key, name), now) is None
    assert signing_key(authority.certificate(key, SIGNER, age=timedelta(days=2)), now) is None
    assert signing_key(authority.certificate(key, SIGNER, age=timedelta(days=-1)), now) is None
    assert signing_key(b"hello", now) is None


@pytest.mark.parametrize(
    ("but", "why"),
    [
        ({}, None),
        ({"TopicArn": TOPIC + "x"}, "topic"),
        ({"url": CERTIFICATE_URL.replace("eu-west-1", "us-east-1")}, "certificate_url"),
        ({"url": CERTIFICATE_URL.replace("amazonaws.com", "amazonaws.com.evil.example")}, "certificate_url"),
        ({"url": CERTIFICATE_URL.replace("https:", "http:")}, "certificate_url"),
        ({"url": CERTIFICATE_URL.replace(".com/", ".com:444/")}, "certificate_url"),
        ({"url": CERTIFICATE_URL.replace("//sns", "//x@sns")}, "certificate_url"),
        ({"url": CERTIFICATE_URL.replace("/Simple", "/../Simple")}, "certificate_url"),
        ({"url": CERTIFICATE_URL.replace(".com/", ".com.cn/")}, "certificate_url"),
        ({"Timestamp": "2026-01-01T00:00:00Z"}, "time"),
        ({"Timestamp": "2126-01-01T00:00:00Z"}, "time"),
        ({"Timestamp": "yesterday"}, "time"),
        ({"Timestamp": "2026-11-28T12:00:00"}, "time"),
        ({"Type": "SubscriptionConfirmation"}, "token"),
    ],
)
def test_what_is_refused_before_anything_is_fetched(
    key: rsa.RSAPrivateKey, but: dict[str, Any], why: str | None
) -> None:
    message = read_sns_message(orjson.dumps(signed(key, **but)))
    assert message is not None and refusal_of(message, {TOPIC}, datetime.now(UTC)) == why


def test_a_subscription_is_confirmed_at_the_topic_s_own_region(key: rsa.RSAPrivateKey) -> None:
    evil = {"Type": "SubscriptionConfirmation", "Token": "a&b", "SubscribeURL": "https://evil.example/"}
    message = read_sns_message(orjson.dumps(signed(key, **evil)))
    assert message is not None
    assert confirmation_url(message) == (
        "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription"
        "&TopicArn=arn%3Aaws%3Asns%3Aeu-west-1%3A123456789012%3Amail-events&Token=a%26b"
    )


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"Type":"Other"}'])
def test_what_is_no_message(body: bytes) -> None:
    assert read_sns_message(body) is None


class Sns(SnsClient):
    """SNS with one certificate."""

    def __init__(self, key: rsa.RSAPrivateKey, *, confirms: bool = True) -> None:
        super().__init__(None)
        self._public = key.public_key()
        self.confirms = confirms
        self.asked: list[str] = []

    async def key(self, url: str) -> rsa.RSAPublicKey | None:
        self.asked.append(url)
        return self._public

    async def get(self, url: str) -> bytes | None:
        self.asked.append(url)
        return b"<ConfirmSubscriptionResponse/>" if self.confirms else None


def source_of(sns: Sns) -> SnsSource:
    settings = some_settings(public={"sns_topics": [TOPIC]})
    worker: Any = SimpleNamespace(settings=settings, add_stop=lambda stop: None)
    return SnsSource(worker, sns)


async def verified(source: SnsSource, message: dict[str, Any]) -> Verified | RefusedWebhook:
    request: Any = None
    return await source.verify(request, orjson.dumps(message))


async def test_a_notification_reports_and_a_subscription_is_confirmed(key: rsa.RSAPrivateKey) -> None:
    sns = Sns(key)
    source = source_of(sns)
    found = await verified(source, signed(key, Message='{"originationNumber":"+15550100201","messageBody":"STOP"}'))
    assert isinstance(found, Verified) and len(found.reports) == 1
    subscription = {"Type": "SubscriptionConfirmation", "Token": "a1", "SubscribeURL": "https://evil.example/"}
    assert await verified(source, signed(key, **subscription)) == Verified()
    assert sns.asked[-1].startswith("https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=")
    with pytest.raises(RetryLater):
        await verified(source_of(Sns(key, confirms=False)), signed(key, **subscription))


async def test_nothing_is_confirmed_or_read_that_is_not_signed(key: rsa.RSAPrivateKey) -> None:
    sns = Sns(key)
    source = source_of(sns)
    subscription = {"Type": "SubscriptionConfirmation", "Token": "a1", "SubscribeURL": "https://x.example/"}
    for message in (
        signed(key) | {"Message": "{}"},
        signed(key, **subscription) | {"Token": "a2"},
        signed(key, TopicArn=TOPIC + "x"),
        signed(key, Timestamp="2026-01-01T00:00:00Z"),
    ):
        assert await verified(source, message) == NOT_SIGNED
    assert not [url for url in sns.asked if "Confirm" in url]
    assert len(sns.asked) == 2, "no certificate is fetched for a message that is refused anyway"
