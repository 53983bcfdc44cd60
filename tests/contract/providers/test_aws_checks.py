"""`providers check` asks SES and SNS, sends nothing, and says in a sentence what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from click.testing import CliRunner

from notify_streams.cli.providers import providers as providers_verb
from notify_streams.delivery.providers import ProviderConfig
from notify_streams.delivery.providers.check_failure import CheckFailed
from notify_streams.delivery.providers.checks import CHECKS
from tests.contract.providers.aws_server import KEY_ID, REGION, SECRET, config_of, refused, response
from tests.contract.providers.scripted_server import Peer, serve

ATTRIBUTES = (
    b'<GetSMSAttributesResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><GetSMSAttributesResult><attributes/>'
    b"</GetSMSAttributesResult></GetSMSAttributesResponse>"
)
TAKEN = {
    "ses": response(200, b'{"SendingEnabled":true,"ProductionAccessEnabled":true}'),
    "sns": response(200, ATTRIBUTES),
}


@asynccontextmanager
async def answering(name: str, answer: bytes, seen: list[bytes] | None = None) -> AsyncIterator[ProviderConfig]:
    """A server that answers each request, and the configuration for it."""

    async def script(peer: Peer) -> None:
        while True:
            head = await peer.reader.readuntil(b"\r\n\r\n")
            if seen is not None:
                seen.append(head)
            if name == "sns":
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                assert b"Action=GetSMSAttributes" in await peer.reader.readexactly(length)
            await peer.send(answer)

    async with serve(script) as server:
        yield config_of(server.port, timeout_s=5.0)


CASES: dict[str, tuple[str, bytes, str]] = {
    "the account is in the sandbox": (
        "ses",
        response(200, b'{"SendingEnabled":true,"ProductionAccessEnabled":false}'),
        "SES takes the credential; the account may send to verified addresses only",
    ),
    "SES takes it": ("ses", TAKEN["ses"], "SES takes the credential in eu-west-1"),
    "SNS takes it": ("sns", TAKEN["sns"], "SNS takes the credential in eu-west-1"),
    "the account may not send": ("ses", response(200, b'{"SendingEnabled":false}'), "!the SES account may not send"),
    "a wrong key": (
        "ses",
        refused("ses", 403, "UnrecognizedClientException", "hush"),
        "!SES refuses the credential (UnrecognizedClientException): check providers.aws_access_key_id",
    ),
    "a wrong secret": (
        "sns",
        refused("sns", 403, "SignatureDoesNotMatch", "hush"),
        "!SNS refuses the credential (SignatureDoesNotMatch): check providers.aws_access_key_id",
    ),
    "no permission": (
        "ses",
        refused("ses", 403, "AccessDeniedException", "hush"),
        "!SES knows the credential, but it may not ask: give it ses:GetAccount",
    ),
    "no permission of SNS": (
        "sns",
        refused("sns", 403, "AuthorizationError", "hush"),
        "!SNS knows the credential, but it may not ask: give it sns:GetSMSAttributes",
    ),
    "another error": ("sns", refused("sns", 400, "InvalidAction", "hush"), "!SNS answers HTTP 400: check"),
}


@pytest.mark.parametrize(("name", "answer", "says"), CASES.values(), ids=CASES)
async def test_what_aws_says_is_a_sentence(name: str, answer: bytes, says: str) -> None:
    async with answering(name, answer) as config:
        try:
            text = await CHECKS[name](config)
        except CheckFailed as error:
            text = f"!{error}"
    assert text.startswith(says)
    assert "hush" not in text and "\n" not in text


async def test_no_answer_is_a_sentence() -> None:
    with pytest.raises(CheckFailed, match="SES does not respond"):
        await CHECKS["ses"](config_of(1))


async def test_another_authority_is_a_sentence(host_certificate: Path) -> None:
    async with serve(lambda peer: peer.end(), certificate=host_certificate) as server:
        config = msgspec.structs.replace(config_of(server.port), aws_endpoint=f"https://127.0.0.1:{server.port}")
        with pytest.raises(CheckFailed, match=r"certificate of SNS is not accepted: set providers\.ca_file"):
            await CHECKS["sns"](config)


async def test_the_command_asks_ses(tmp_path: Path) -> None:
    seen: list[bytes] = []
    nothing = {"kafka": "127.0.0.1:1", "shards": ["mongodb://127.0.0.1:1"], "redis": "redis://127.0.0.1:1/0"}
    async with answering("ses", TAKEN["ses"], seen) as config:
        providers: dict[str, Any] = {
            "email_provider": "ses",
            "mail_sender": "a@example.org",
            "aws_region": REGION,
            "aws_endpoint": config.aws_endpoint,
            "aws_access_key_id": KEY_ID,
            "aws_secret_access_key": SECRET,
            "fcm": "http://127.0.0.1:1",
            "twilio": "http://127.0.0.1:1",
        }
        (tmp_path / "us.yaml").write_text(yaml.safe_dump({**nothing, "providers": providers}))
        runner = CliRunner(env={"NOTIFY_CONFIG_DIR": str(tmp_path)})
        done = await asyncio.to_thread(runner.invoke, providers_verb, ["check"])
    assert "ses      ok: SES takes the credential in eu-west-1" in done.stdout.splitlines()
    (head,) = seen
    assert head.startswith(b"GET /v2/email/account HTTP/1.1\r\n")
