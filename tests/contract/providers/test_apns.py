"""APNs against pushy's server, which verifies the token, the headers and the payload of each notification."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from aioapns.common import APNS_RESPONSE_CODE

from notify_streams.delivery.providers import Outgoing, Provider, ProviderOutcome, ProviderResult, provider_for
from notify_streams.delivery.providers.apns import ProviderTokens, apns_result
from notify_streams.delivery.providers.apns_errors import REASONS
from notify_streams.delivery.providers.http_responses import HttpResponse
from notify_streams.followed_files import BadCredential
from notify_streams.secret import Secret
from tests.contract.providers.pushy import DEVICE, REMOVED, Pushy, push
from tests.waiting import until


@pytest.fixture(scope="module")
async def pushy(host_certificate: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pushy]:
    server = Pushy(host_certificate)
    await server.start(tmp_path_factory.mktemp("pushy"))
    yield server
    await server.stop()


@asynccontextmanager
async def started(pushy: Pushy, **but: Any) -> AsyncIterator[Provider]:
    provider = provider_for("push", pushy.config(**but))
    await provider.start()
    try:
        yield provider
    finally:
        await provider.close()


async def sent(pushy: Pushy, message: Outgoing, **but: Any) -> ProviderResult:
    async with started(pushy, **but) as provider:
        before = len(pushy.received)
        result = await provider.send(message)
        if result.begun:
            await until(lambda: len(pushy.received) > before)
        return result


async def test_an_accepted_notification_has_all_that_was_asked_for(pushy: Pushy) -> None:
    expires_at_s = int(time.time()) + 3600
    message = push(
        title="Payment received",
        critical=True,
        collapse_key="balance",
        expires_at_ms=expires_at_s * 1000 + 999,
        data={"amount": 12, "of": {"account": "7"}},
        attempt=2,
        possible_duplicate=True,
    )
    result = await sent(pushy, message)
    assert (result.outcome, result.provider) == (ProviderOutcome.ACCEPTED, "apns")
    received = pushy.received[-1]
    assert received.result == "accepted"
    assert received.headers[":path"] == f"/3/device/{DEVICE}"
    assert received.headers["apns-push-type"] == "alert"
    assert received.headers["apns-priority"] == "10"
    assert received.headers["apns-collapse-id"] == "balance"
    assert abs(int(received.headers["apns-expiration"]) - expires_at_s) <= 1
    assert received.headers["apns-id"] == result.provider_id == str(UUID(result.provider_id))
    assert received.payload == {
        "aps": {"alert": {"title": "Payment received", "body": "hi"}},
        "amount": 12,
        "of": {"account": "7"},
        "notify_delivery_id": "d.push",
        "notify_notification_id": "n",
        "notify_attempt": "2",
        "notify_possible_duplicate": "1",
        "notify_critical": "1",
    }


async def test_every_attempt_of_a_delivery_has_the_same_id(pushy: Pushy) -> None:
    first, again, other = [
        await sent(pushy, push(delivery_id=id, attempt=number)) for id, number in (("d1", 1), ("d1", 2), ("d2", 1))
    ]
    assert first.provider_id == again.provider_id != other.provider_id
    other_device = await sent(pushy, push(delivery_id="d1", to=pushy.rejected_token("BadTopic")))
    assert other_device.provider_id is None and pushy.received[-1].headers["apns-id"] != first.provider_id


async def test_the_app_of_a_device_is_the_topic(pushy: Pushy) -> None:
    await sent(pushy, push(app="org.example.other"))
    assert pushy.received[-1].headers["apns-topic"] == "org.example.other"
    await sent(pushy, push())
    assert pushy.received[-1].headers["apns-topic"] == pushy.config().apns_topic


async def test_a_wrong_topic_of_one_device_is_no_outage(pushy: Pushy) -> None:
    token = pushy.rejected_token("BadTopic")
    assert (await sent(pushy, push(to=token))).outcome is ProviderOutcome.RETRY
    assert (await sent(pushy, push(to=token, app="org.example.other"))).outcome is ProviderOutcome.REJECTED


@pytest.mark.parametrize(
    ("key", "expected"),
    [("k" * 64, "k" * 64), ("k" * 65, None), ("schlüssel", None), ("a b", None), ("", None)],
    ids=["64 bytes", "65 bytes", "not ASCII", "a blank", "empty"],
)
async def test_a_collapse_id_is_the_key_or_its_hash(pushy: Pushy, key: str, expected: str | None) -> None:
    assert (await sent(pushy, push(collapse_key=key))).outcome is ProviderOutcome.ACCEPTED
    found = pushy.received[-1].headers["apns-collapse-id"]
    assert found == expected or (expected is None and len(found) == 43 and found.isascii())


@pytest.mark.parametrize("expires_at_ms", [0, 2**45], ids=["past", "in a thousand years"])
async def test_any_expiry_is_taken(pushy: Pushy, expires_at_ms: int) -> None:
    assert (await sent(pushy, push(expires_at_ms=expires_at_ms))).outcome is ProviderOutcome.ACCEPTED
    expiration = int(pushy.received[-1].headers["apns-expiration"])
    assert expiration == 0 if expires_at_ms == 0 else 0 < expiration - time.time() <= 30 * 24 * 3600


async def test_the_largest_payload_is_taken_and_a_larger_one_not_sent(pushy: Pushy) -> None:
    await sent(pushy, push(body=""))
    empty = len(orjson.dumps(pushy.received[-1].payload))
    assert (await sent(pushy, push(body="x" * (4096 - empty)))).outcome is ProviderOutcome.ACCEPTED
    result = await sent(pushy, push(body="x" * (4097 - empty)))
    assert (result.outcome, result.begun) == (ProviderOutcome.TOO_LARGE, False)


@pytest.mark.parametrize("to", ["", "ab" * 31, "xy" * 32, "ab" * 32 + "\n", "fcm:token"])
async def test_what_is_no_device_token_is_not_sent(pushy: Pushy, to: str) -> None:
    result = await sent(pushy, push(to=to))
    assert (result.outcome, result.begun) == (ProviderOutcome.BAD_ADDRESS, False)


async def test_each_reason_that_the_server_knows_has_its_outcome(pushy: Pushy) -> None:
    async with started(pushy) as provider:
        for reason, status in pushy.reasons.items():
            token = pushy.rejected_token(reason)
            result = await provider.send(push(to=token))
            assert result.outcome is REASONS[reason], reason
            assert (result.code, result.detail) == (reason, f"HTTP {status}, code {reason}")
            assert result.throttled == (status == 429)
            assert result.maybe_accepted == (status >= 500)
            assert token not in repr(result)
        assert (await provider.send(push())).outcome is ProviderOutcome.ACCEPTED


@pytest.mark.parametrize("body", [b"", b'{"reason": "SomethingNew"}', b'{"reason": "to +1 555"}', b"[]"])
@pytest.mark.parametrize("status", [int(v) for k, v in vars(APNS_RESPONSE_CODE).items() if k.isupper()])
def test_every_status_that_aioapns_names_has_an_outcome_and_an_unknown_reason_is_retried(
    status: int, body: bytes
) -> None:
    result = apns_result(HttpResponse(status, None, body), "id")
    by_status = {
        200: ProviderOutcome.ACCEPTED,
        400: ProviderOutcome.REJECTED,
        410: ProviderOutcome.DEAD_TOKEN,
        413: ProviderOutcome.TOO_LARGE,
    }
    if status != 200 and b"SomethingNew" in body:
        is_about_message = status == 413
        assert result.outcome is (ProviderOutcome.REJECTED if is_about_message else ProviderOutcome.RETRY)
        assert (result.code, result.unknown_code) == ("SomethingNew", True)
    else:
        assert result.outcome is by_status.get(status, ProviderOutcome.RETRY)
        assert "555" not in repr(result)


async def test_a_removed_app_is_a_dead_token(pushy: Pushy) -> None:
    result = await sent(pushy, push(to=REMOVED))
    assert (result.outcome, result.code) == (ProviderOutcome.DEAD_TOKEN, "Unregistered")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"apns_key_id": Secret("KEYKEYKE02")}, "InvalidProviderToken"),
        ({"apns_key": "another"}, "InvalidProviderToken"),
    ],
)
async def test_a_wrong_credential_ends_no_delivery(pushy: Pushy, wrong: dict[str, Any], reason: str) -> None:
    if "apns_key" in wrong:
        wrong = {"apns_key": Secret(Pushy(pushy.certificate).key)}
    result = await sent(pushy, push(), **wrong)
    assert (result.outcome, result.code, result.maybe_accepted) == (ProviderOutcome.RETRY, reason, False)


async def test_the_token_is_renewed_every_50_minutes_and_after_a_refusal(pushy: Pushy) -> None:
    tokens = ProviderTokens.of(pushy.config())
    first = tokens.token(1_000_000.0)
    assert tokens.token(1_000_000.0 + 2_999) == first
    tokens.refused(1_000_000.0 + 1_000)
    assert tokens.token(1_000_000.0 + 1_000) == first, "Apple allows one renewal in 20 minutes"
    assert (second := tokens.token(1_000_000.0 + 3_000)) != first
    tokens.refused(1_000_000.0 + 3_000 + 1_200)
    assert tokens.token(1_000_000.0 + 3_000 + 1_200) != second
    third = tokens.token(1_000_000.0 + 3_000 + 1_200)
    assert tokens.token(1_000_000.0 + 3_000 + 1_199) == third, (
        "a clock that was set back by a second makes no second token"
    )
    assert tokens.token(0.0) != third, "a clock that was set back"


async def test_many_concurrent_calls_are_each_accepted_once(pushy: Pushy) -> None:
    before = len(pushy.received)
    async with started(pushy) as provider:
        results = await asyncio.gather(*(provider.send(push(delivery_id=f"d{number}")) for number in range(200)))
    assert {result.outcome for result in results} == {ProviderOutcome.ACCEPTED}
    assert len({result.provider_id for result in results}) == 200
    await until(lambda: len(pushy.received) == before + 200)


async def test_a_restart_of_the_server_costs_no_connection_for_good(pushy: Pushy) -> None:
    async with started(pushy) as provider:
        assert (await provider.send(push())).outcome is ProviderOutcome.ACCEPTED
        await pushy.command("stop")
        result = await provider.send(push())
        assert (result.outcome, result.begun, result.maybe_accepted) == (ProviderOutcome.RETRY, False, False)
        await pushy.command("start")
        assert (await provider.send(push())).outcome is ProviderOutcome.ACCEPTED


@pytest.mark.parametrize("missing", ["apns_team_id", "apns_key_id", "apns_key", "apns_topic"])
def test_without_a_credential_there_is_no_provider(pushy: Pushy, missing: str) -> None:
    with pytest.raises(BadCredential, match=f"{missing}"):
        provider_for("push", pushy.config(**{missing: None}))


def test_a_key_that_is_none_is_named_and_not_shown(pushy: Pushy) -> None:
    with pytest.raises(BadCredential, match="apns_key") as error:
        provider_for("push", pushy.config(apns_key=Secret("-----BEGIN secret-----")))
    assert "secret" not in str(error.value)
    assert pushy.key.splitlines()[1] not in repr(pushy.config())
