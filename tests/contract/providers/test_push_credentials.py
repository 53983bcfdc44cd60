"""Credentials of APNs and Web Push: refused at the start if they cannot work, replaced with their file, checked by a call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key

from devtools.sandbox.keys import pem
from notify_streams.delivery.providers import ProviderConfig, check_credentials, provider_config, provider_for
from notify_streams.delivery.providers.check_failure import CheckFailed
from notify_streams.delivery.providers.checks import CHECKS
from notify_streams.errors import SettingsError
from notify_streams.secret import Secret
from notify_streams.settings_providers import ProviderSettings
from tests.contract.providers.http2_server import Peer, serve_http2
from tests.contract.providers.pushy import push
from tests.waiting import until

KEY = generate_private_key(SECP256R1())
APNS: dict[str, Any] = {
    "apns_team_id": "TEAM",
    "apns_key_id": Secret("KEY"),
    "apns_key": Secret(pem(KEY)),
    "apns_topic": "example.app",
}
WEB_PUSH: dict[str, Any] = {"web_push_key": Secret(pem(KEY)), "web_push_subject": "mailto:ops@example.org"}


@pytest.mark.parametrize(
    ("provider", "given"),
    [("apns", {**APNS, name: None}) for name in APNS] + [("web_push", {**WEB_PUSH, name: None}) for name in WEB_PUSH],
)
def test_a_worker_without_a_credential_does_not_start(provider: Any, given: dict[str, Any]) -> None:
    (missing,) = (name for name, value in given.items() if value is None)
    with pytest.raises(SettingsError, match=missing):
        check_credentials(ProviderSettings(push_provider=provider, **given), "push")


@pytest.mark.parametrize(
    ("provider", "but"),
    [
        ("apns", {"apns_key": Secret("no key")}),
        ("apns", {"apns_topic": "no topic\r\nx: y"}),
        ("web_push", {"web_push_key": Secret("no key")}),
        ("web_push", {"web_push_subject": "ops"}),
    ],
)
def test_nor_does_one_whose_credential_cannot_work(provider: Any, but: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(but))) as error:
        check_credentials(ProviderSettings(push_provider=provider, **{**APNS, **WEB_PUSH, **but}), "push")
    assert "no key" not in str(error.value)


@pytest.mark.parametrize("provider", ["apns", "web_push"])
def test_one_with_all_of_them_starts_and_shows_none(provider: Any) -> None:
    settings = ProviderSettings(push_provider=provider, **{**APNS, **WEB_PUSH})
    check_credentials(settings, "push")
    client = provider_for("push", provider_config(settings))
    assert client.name == provider
    assert pem(KEY) not in repr((settings, provider_config(settings), vars(client)))


def config(certificate: Path, port: int, **but: Any) -> ProviderConfig:
    given = {"apns": f"https://127.0.0.1:{port}", "ca_file": str(certificate), "start_within_s": 5.0, **APNS, **but}
    return ProviderConfig(fcm="", twilio="", smtp="", push_provider="apns", **given)


def signed_with(key: EllipticCurvePrivateKey, peer: Peer, stream: int) -> bool:
    token = peer.requests[stream].headers["authorization"].removeprefix("bearer ")
    try:
        jwt.decode(token, key.public_key(), ["ES256"])
    except jwt.InvalidSignatureError:
        return False
    return True


async def test_a_new_key_and_its_id_are_used_without_a_restart(
    host_certificate: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    new_key = generate_private_key(SECP256R1())
    used: list[bool] = []

    def ok(peer: Peer, stream: int) -> None:
        used.append(signed_with(new_key, peer, stream))
        peer.respond(stream)

    file, id_file = tmp_path / "key.p8", tmp_path / "key-id"
    file.write_text(pem(KEY))
    id_file.write_text("KEY")
    async with serve_http2(ok, host_certificate) as server:
        secrets = {"apns_key": Secret.read(file), "apns_key_id": Secret.read(id_file)}
        provider = provider_for("push", config(host_certificate, server.port, **secrets, credential_check_s=0.05))
        await provider.start()
        await provider.send(push())
        file.write_text(pem(new_key))
        await until(lambda: any("an id of its own" in str(vars(one).get("error")) for one in caplog.records))
        await provider.send(push())
        assert used[-1] is False, "without its id the new key is of no use"
        id_file.write_text("NEWKEY")

        async def is_used() -> bool:
            await provider.send(push())
            return used[-1]

        await until(is_used)
        await provider.close()
    assert used[0] is False


@pytest.mark.parametrize(
    ("status", "reason", "said"),
    [
        (400, "BadDeviceToken", None),
        (403, "InvalidProviderToken", "refuses the key (HTTP 403, code InvalidProviderToken)"),
        (400, "TopicDisallowed", "providers.apns_topic"),
        (503, "Shutdown", "answers HTTP 503, code Shutdown"),
    ],
)
async def test_a_check_says_whether_apns_takes_the_key(
    host_certificate: Path, status: int, reason: str, said: str | None
) -> None:
    def answer(peer: Peer, stream: int) -> None:
        peer.respond(stream, status, b'{"reason": "%b"}' % reason.encode())

    async with serve_http2(answer, host_certificate) as server:
        given = config(host_certificate, server.port)
        if said is None:
            assert await CHECKS["apns"](given) == "APNs takes the key KEY"
        else:
            with pytest.raises(CheckFailed) as failure:
                await CHECKS["apns"](given)
            assert said in str(failure.value)


async def test_a_check_says_that_nobody_answers(host_certificate: Path) -> None:
    with pytest.raises(CheckFailed, match=r"does not respond \(ConnectionRefusedError\)"):
        await CHECKS["apns"](config(host_certificate, 1))


async def test_a_check_of_web_push_reads_the_key(host_certificate: Path) -> None:
    assert "can be used" in await CHECKS["web_push"](config(host_certificate, 1, **WEB_PUSH))
    with pytest.raises(CheckFailed, match="web_push_key"):
        await CHECKS["web_push"](config(host_certificate, 1))
