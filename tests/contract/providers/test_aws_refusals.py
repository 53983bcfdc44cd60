"""What SES and SNS answer, and what they do not answer, is the result of one request."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import time
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest

from devtools.stack.ports import free_port
from notify_streams.delivery.providers import Provider, ProviderOutcome, provider_for, ses, sns
from notify_streams.delivery.providers.aws_errors import COMMON_ERRORS
from notify_streams.delivery.providers.check_failure import CheckFailed
from notify_streams.delivery.providers.checks import CHECKS
from notify_streams.retry import failing_calls
from notify_streams.secret import Secret
from tests.contract.providers.aws_server import (
    CHANNELS,
    KEY_ID,
    REGION,
    SECRET,
    accepted,
    config_of,
    refused,
    response,
)
from tests.contract.providers.scripted_server import Peer, ScriptedServer, serve
from tests.waiting import until

TABLES = {"ses": ses.ERRORS, "sns": sns.ERRORS}
Script = Callable[[Peer], Awaitable[None]]


@pytest.fixture(params=CHANNELS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def client_of(name: str, script: Script, **but: Any) -> AsyncIterator[tuple[Provider, ScriptedServer]]:
    async with serve(script) as server:
        provider = provider_for(CHANNELS[name], config_of(server.port, **but))
        assert provider.name == name
        await provider.start()
        try:
            yield provider, server
        finally:
            await provider.close()


def answering(*answers: bytes) -> Script:
    """One answer for each request, the last one for all that follow."""
    waiting = list(answers)

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(waiting.pop(0) if len(waiting) > 1 else waiting[0])

    return script


async def test_each_code_has_the_outcome_of_its_row(name: str, outbox_of: Any) -> None:
    message = outbox_of(CHANNELS[name]).message()
    table = {
        code: row
        for code, row in {**COMMON_ERRORS, **TABLES[name]}.items()
        if code not in (ses.NOT_VERIFIED, sns.SENDER_REFUSED)
    }
    answers = [refused(name, 400, code, f"about {message.to}") for code in table]
    async with client_of(name, answering(*answers)) as (provider, server):
        for code, row in table.items():
            result = await provider.send(message)
            assert (result.outcome, result.code, result.throttled) == (row.outcome, code, row.throttled)
            assert result.begun and not result.maybe_accepted
            assert message.to not in repr(result)
    assert len(server.requests) == len(table)


CASES: dict[str, tuple[bytes, dict[str, Any]]] = {
    "too fast": (
        refused("ses", 429, "TooManyRequestsException", "Maximum sending rate exceeded.", "Retry-After: 7"),
        {"code": "TooManyRequestsException", "throttled": True, "retry_after_s": 7.0},
    ),
    "a code with its address": (
        refused("ses", 400, "MessageRejected:http://internal.amazon.com/coral/", "bad"),
        {"outcome": ProviderOutcome.REJECTED, "code": "MessageRejected"},
    ),
    "a code in the body": (
        response(403, b'{"__type":"com.amazon.coral.service#SignatureDoesNotMatch"}'),
        {"code": "SignatureDoesNotMatch"},
    ),
    "a sender that is not verified": (
        refused(
            "ses",
            400,
            "MessageRejected",
            "Email address is not verified. The following identities failed the check in region EU-WEST-1: a@b.c",
        ),
        {"code": "MessageRejected.NotVerified"},
    ),
    "a code that is not known": (
        refused("ses", 400, "BrandNewException", "?"),
        {"code": "BrandNewException", "unknown_code": True},
    ),
    "a code that is none": (refused("ses", 400, "to: a@example.org", "?"), {"unknown_code": True}),
    "AWS is down": (
        response(503, b"<html>Service Unavailable</html>", "Content-Type: text/html"),
        {"maybe_accepted": True},
    ),
    "a proxy": (response(403, b"Forbidden by the gateway"), {"code": "403"}),
    "a redirect": (response(307, b"", "Location: http://127.0.0.1:1/"), {"code": "307"}),
}


async def test_each_form_of_an_answer_has_its_outcome(outbox_of: Any) -> None:
    usual = {"outcome": ProviderOutcome.RETRY, "throttled": False, "maybe_accepted": False, "unknown_code": False}
    answers = [answer for answer, _ in CASES.values()]
    async with client_of("ses", answering(*answers)) as (provider, server):
        for case, (_, expected) in CASES.items():
            result = await provider.send(outbox_of("email").message())
            wanted = usual | expected
            assert (case, {field: getattr(result, field) for field in wanted}) == (case, wanted)
            assert "a@example.org" not in repr(result)
    assert len(server.requests) == len(CASES)


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        ("InvalidParameter", "Invalid parameter: PhoneNumber Reason: +12025550100 is not valid to publish to", None),
        ("InvalidParameter", "Invalid parameter: Message too long", None),
        ("OptedOut", "the number opted out of this sender id", None),
        (
            "InvalidParameter",
            "Invalid parameter: AWS.SNS.SMS.SenderID Reason: NOTIFY is not registered",
            sns.SENDER_REFUSED,
        ),
        (
            "InvalidParameter",
            "Invalid parameter: The message attribute 'AWS.SNS.SMS.SMSType' is invalid",
            sns.SENDER_REFUSED,
        ),
        ("ValidationException", "No origination identities available to send to this country", sns.SENDER_REFUSED),
    ],
)
async def test_a_refusal_of_our_sender_ends_no_delivery(
    code: str, text: str, expected: str | None, outbox_of: Any
) -> None:
    async with client_of("sns", answering(refused("sns", 400, code, text))) as (provider, _):
        result = await provider.send(outbox_of("sms").message())
    ends = ProviderOutcome.REJECTED if expected is None else ProviderOutcome.RETRY
    assert (result.outcome, result.code) == (ends, expected or code)
    assert "+1202" not in repr(result) and "NOTIFY" not in repr(result)


async def test_an_answer_of_sns_that_is_none_is_retried(outbox_of: Any) -> None:
    statuses = (200, 400, 500)
    async with client_of("sns", answering(*(response(status, b"<html>no") for status in statuses))) as (
        provider,
        server,
    ):
        for _ in statuses:
            result = await provider.send(outbox_of("sms").message())
            assert (result.outcome, result.maybe_accepted) == (ProviderOutcome.RETRY, True)
    assert len(server.requests) == len(statuses)


async def test_after_a_lost_answer_the_message_may_have_been_accepted(outbox_of: Any) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.abort()

    async with client_of("sns", script) as (provider, server):
        result = await provider.send(outbox_of("sms").message())
    assert (result.outcome, result.maybe_accepted, result.begun) == (ProviderOutcome.RETRY, True, True)
    assert len(server.requests) == 1


async def test_a_call_without_an_answer_ends_within_the_timeout(name: str, outbox_of: Any) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.end()

    async with client_of(name, script, timeout_s=1.0) as (provider, server):
        began = time.monotonic()
        result = await provider.send(outbox_of(CHANNELS[name]).message())
        assert 0.9 < time.monotonic() - began < 5.0
    assert (result.outcome, result.maybe_accepted) == (ProviderOutcome.RETRY, True)
    assert len(server.requests) == 1


async def test_a_refused_connection_is_a_retry_that_was_not_begun(outbox_of: Any) -> None:
    async with serve(answering(b"")) as server:
        port = server.port
    provider = provider_for("email", config_of(port))
    await provider.start()
    result = await provider.send(outbox_of("email").message())
    await provider.close()
    assert (result.outcome, result.maybe_accepted, result.begun) == (ProviderOutcome.RETRY, False, False)


async def test_a_call_without_a_free_connection_is_not_begun_late(name: str, outbox_of: Any) -> None:
    release = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await release.wait()
        await peer.send(accepted(name))
        await peer.end()

    outbox = outbox_of(CHANNELS[name])
    async with client_of(name, script, max_in_flight=1, start_within_s=1.0) as (provider, server):
        running = asyncio.create_task(provider.send(outbox.message()))
        while not server.requests:
            await asyncio.sleep(0)
        late = await provider.send(outbox.message())
        release.set()
        assert (await running).outcome is ProviderOutcome.ACCEPTED
    assert (late.outcome, late.maybe_accepted, late.begun) == (ProviderOutcome.RETRY, False, False)
    assert (len(server.requests), server.connections) == (1, 1)


async def test_there_are_no_more_connections_than_calls_in_flight(outbox_of: Any) -> None:
    outbox = outbox_of("sms")
    async with client_of("sns", answering(accepted("sns")), max_in_flight=3) as (provider, server):
        assert provider.max_in_flight == 3
        slots = asyncio.Semaphore(3)

        async def send() -> ProviderOutcome:
            async with slots:
                return (await provider.send(outbox.message())).outcome

        assert set(await asyncio.gather(*(send() for _ in range(12)))) == {ProviderOutcome.ACCEPTED}
    assert len(server.requests) == 12
    assert server.connections <= 3


def head_and_body(request: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert len(headers) == len(lines)
    return first, {key.lower(): value for key, value in headers.items()}, body


def expected_signature(first: str, headers: dict[str, str], body: bytes, service: str, signed: str) -> str:
    """Signature Version 4, written from its documentation."""
    path = first.split()[1]
    canonical = [f"{key}:{' '.join(headers[key].split())}\n" for key in signed.split(";")]
    payload = hashlib.sha256(body).hexdigest()
    hashed = hashlib.sha256(f"POST\n{path}\n\n{''.join(canonical)}\n{signed}\n{payload}".encode()).hexdigest()
    moment = headers["x-amz-date"]
    scope = f"{moment[:8]}/{REGION}/{service}/aws4_request"
    key = f"AWS4{SECRET}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashed}".encode(), "sha256").hex()


async def test_a_request_is_signed_and_has_the_message(name: str, outbox_of: Any) -> None:
    message = outbox_of(CHANNELS[name]).message(critical=True, title="Zahlung", body="über 12 €")
    settings = {"ses_configuration_set": "events", "sns_sender_id": "NOTIFY", "sns_origination_number": "+12065550199"}
    async with client_of(name, answering(accepted(name)), **settings) as (provider, server):
        result = await provider.send(message)
    assert (result.outcome, result.provider_id, result.provider) == (ProviderOutcome.ACCEPTED, "id-1", name)
    ((_, request),) = server.requests
    first, headers, body = head_and_body(request)
    found = re.fullmatch(
        rf"AWS4-HMAC-SHA256 Credential={KEY_ID}/\d+/{REGION}/{name}/aws4_request, "
        r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})",
        headers["authorization"],
    )
    assert found is not None
    assert {"host", "x-amz-date"} <= set(found[1].split(";"))
    assert found[2] == expected_signature(first, headers, body, name, found[1])
    if name == "ses":
        sent = orjson.loads(body)
        assert first == "POST /v2/email/outbound-emails HTTP/1.1"
        mail = b64decode(sent.pop("Content")["Raw"]["Data"]).decode()
        assert f"\r\nTo: {message.to}\r\n" in mail and mail.startswith("From: notify@example.org\r\n")
        tags = {tag["Name"]: tag["Value"] for tag in sent.pop("EmailTags")}
        assert tags == {
            "notify_delivery_id": message.delivery_id,
            "notify_notification_id": message.notification_id,
            "notify_attempt": "1",
            "notify_critical": "1",
        }
        assert sent == {
            "FromEmailAddress": "notify@example.org",
            "Destination": {"ToAddresses": [message.to]},
            "ConfigurationSetName": "events",
        }
    else:
        form = {key: values[0] for key, values in parse_qs(body.decode()).items()}
        entries = [form.pop(f"MessageAttributes.entry.{n}.Name") for n in (1, 2, 3)]
        values = [form.pop(f"MessageAttributes.entry.{n}.Value.StringValue") for n in (1, 2, 3)]
        assert dict(zip(entries, values, strict=True)) == {
            "AWS.SNS.SMS.SMSType": "Transactional",
            "AWS.SNS.SMS.SenderID": "NOTIFY",
            "AWS.MM.SMS.OriginationNumber": "+12065550199",
        }
        assert {form.pop(f"MessageAttributes.entry.{n}.Value.DataType") for n in (1, 2, 3)} == {"String"}
        assert form == {
            "Action": "Publish",
            "Version": "2010-03-31",
            "PhoneNumber": message.to,
            "Message": "Zahlung\nüber 12 €",
        }


async def test_a_new_key_is_used_without_a_restart(outbox_of: Any, tmp_path: Path) -> None:
    (tmp_path / "id").write_text("AKIDOLD\n")
    (tmp_path / "secret").write_text("old\n")
    keys = {
        "aws_access_key_id": Secret.read(tmp_path / "id"),
        "aws_secret_access_key": Secret.read(tmp_path / "secret"),
    }
    async with client_of("sns", answering(accepted("sns")), **keys, credential_check_s=0.01) as (provider, server):
        await provider.send(outbox_of("sms").message())
        (tmp_path / "id").write_text(KEY_ID)
        (tmp_path / "secret").write_text(SECRET)
        async with asyncio.timeout(5):
            while f"Credential={KEY_ID}/".encode() not in server.requests[-1][1]:
                await provider.send(outbox_of("sms").message())
    assert b"Credential=AKIDOLD/" in server.requests[0][1]


@pytest.fixture
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No credentials anywhere on this machine."""
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


def credentials(lasting_s: float) -> bytes:
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + lasting_s))
    found = {"AccessKeyId": "ASIATEMP", "SecretAccessKey": "s", "Token": "tok", "Expiration": expires}
    return response(200, orjson.dumps(found), "Content-Type: application/json")


async def respond_to_get(peer: Peer, data: bytes) -> None:
    await peer.reader.readuntil(b"\r\n\r\n")
    await peer.send(data)


async def test_temporary_credentials_come_from_the_chain(aws_environment: pytest.MonkeyPatch, outbox_of: Any) -> None:
    async def container(peer: Peer) -> None:
        await respond_to_get(peer, credentials(3600))

    async with serve(container) as chain:
        aws_environment.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{chain.port}/")
        keys = {"aws_access_key_id": None, "aws_secret_access_key": None}
        async with client_of("sns", answering(accepted("sns")), **keys) as (provider, server):
            results = [await provider.send(outbox_of("sms").message()) for _ in range(2)]
    assert {result.outcome for result in results} == {ProviderOutcome.ACCEPTED}
    _, headers, _ = head_and_body(server.requests[0][1])
    assert headers["x-amz-security-token"] == "tok"
    assert "Credential=ASIATEMP/" in headers["authorization"]
    assert chain.connections == 1


async def test_a_call_does_not_begin_late_because_credentials_are_renewed(
    aws_environment: pytest.MonkeyPatch, outbox_of: Any
) -> None:
    slow = asyncio.Event()

    async def container(peer: Peer) -> None:
        if peer.number > 1:
            slow.set()
            await peer.end()
        await respond_to_get(peer, credentials(-5))

    async with serve(container) as chain:
        aws_environment.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{chain.port}/")
        keys = {"aws_access_key_id": None, "aws_secret_access_key": None, "start_within_s": 0.2}
        async with client_of("ses", answering(accepted("ses")), **keys) as (provider, server):
            await slow.wait()
            result = await provider.send(outbox_of("email").message())
    assert (result.outcome, result.maybe_accepted, result.begun) == (ProviderOutcome.RETRY, False, False)
    assert server.requests == []


async def test_the_check_says_what_to_set_without_credentials(aws_environment: pytest.MonkeyPatch, name: str) -> None:
    config = config_of(1, aws_access_key_id=None, aws_secret_access_key=None)
    with pytest.raises(CheckFailed, match=r"^there are no AWS credentials for \w+: set providers\.aws_access_key_id"):
        await CHECKS[name](config)


async def instance_metadata(peer: Peer) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html"""
    head = await peer.reader.readuntil(b"\r\n\r\n")
    found = credentials(3600).partition(b"\r\n\r\n")[2] if head.split()[1].endswith(b"/role") else b"role"
    await peer.send(response(200, found.replace(b"{", b'{"Code":"Success",', 1)))


async def test_a_source_of_credentials_that_does_not_answer_is_an_outage(
    aws_environment: pytest.MonkeyPatch, outbox_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker starts, its calls are retried, and the credentials are used when they are there."""
    caplog.set_level("INFO", "notify_streams")
    port = free_port()
    aws_environment.setenv("AWS_EC2_METADATA_DISABLED", "false")
    aws_environment.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{port}/")
    keys = {"aws_access_key_id": None, "aws_secret_access_key": None}
    async with client_of("sns", answering(accepted("sns")), **keys) as (provider, server):
        result = await provider.send(outbox_of("sms").message())
        assert (result.outcome, result.begun, result.credential_refused) == (ProviderOutcome.RETRY, False, True)
        assert "sns.credentials" in failing_calls() and server.requests == []
        async with serve(instance_metadata, port=port):

            async def accepts() -> bool:
                return (await provider.send(outbox_of("sms").message())).outcome is ProviderOutcome.ACCEPTED

            await until(accepts, "the credentials are found")
        assert "sns.credentials" not in failing_calls()
    _, headers, _ = head_and_body(server.requests[0][1])
    assert "Credential=ASIATEMP/" in headers["authorization"]
    lines = [one for one in caplog.records if getattr(one, "call", "") == "sns.credentials"]
    assert [one.__dict__["action"] for one in lines] == ["retry.failing", "retry.recovered"]
    assert "set providers.aws_access_key_id" in lines[0].__dict__["error"]


UNSENDABLE: dict[str, list[tuple[dict[str, Any], ProviderOutcome]]] = {
    "ses": [
        ({"to": "a@b@c"}, ProviderOutcome.BAD_ADDRESS),
        ({"to": "müller@example.org"}, ProviderOutcome.BAD_ADDRESS),
    ],
    "sns": [
        ({"to": "12025550100"}, ProviderOutcome.BAD_ADDRESS),
        ({"to": "+12065550199"}, ProviderOutcome.BAD_ADDRESS),
        ({"title": None, "body": " \n"}, ProviderOutcome.RENDERING),
        ({"title": None, "body": "x" * 1_601}, ProviderOutcome.TOO_LARGE),
        ({"title": None, "body": "я" * 1_000}, ProviderOutcome.TOO_LARGE),
    ],
}


async def test_what_cannot_be_sent_is_known_before_the_call(name: str, outbox_of: Any) -> None:
    outbox = outbox_of(CHANNELS[name])
    settings = {"sns_origination_number": "+12065550199", "max_sms_segments": 11}
    async with client_of(name, answering(accepted(name)), **settings) as (provider, server):
        for but, outcome in UNSENDABLE[name]:
            result = await provider.send(outbox.message(**but))
            assert (result.outcome, result.begun) == (outcome, False)
            assert "to" not in but or but["to"] not in repr(result)
        assert server.requests == []
        longest = await provider.send(outbox.message(title=None, body="x" * 1_600))
    assert (longest.outcome, longest.segments) == (ProviderOutcome.ACCEPTED, 11 if name == "sns" else None)
