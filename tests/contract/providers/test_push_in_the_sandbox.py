"""The sandbox's APNs and push service over the network, also with a client that is none of ours."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aioapns import APNs, NotificationRequest
from aioapns.connection import APNsTLSClientProtocol
from h2.connection import H2Connection
from h2.settings import SettingCodes

from devtools.sandbox.keys import NEXT_APNS, NEXT_KEY_ID
from notify_streams.delivery.providers import ProviderOutcome
from notify_streams.delivery.providers.apns import ProviderTokens
from notify_streams.delivery.providers.checks import CHECKS
from notify_streams.delivery.providers.push_choice import clients_with_budgets
from notify_streams.records.push_subscription import push_subscription
from notify_streams.secret import Secret
from tests.http2_frames import frames
from tests.waiting import until


async def test_another_client_is_served_one_stream_until_its_token_is_valid(sandbox: Any) -> None:
    """aioapns, with its own tokens by PyJWT."""
    given = sandbox.config()

    limits: list[int] = []

    class Watching(APNsTLSClientProtocol):
        APNS_SERVER, APNS_PORT = "127.0.0.1", sandbox.ports["apns"]

        def on_remote_settings_changed(self, changed_settings: Any) -> None:
            if (streams := changed_settings.get(SettingCodes.MAX_CONCURRENT_STREAMS)) is not None:
                limits.append(streams.new_value)
            super().on_remote_settings_changed(changed_settings)

    client = APNs(
        key=given.apns_key.reveal(),
        key_id=given.apns_key_id.reveal(),
        team_id=given.apns_team_id,
        topic=given.apns_topic,
        ssl_context=ssl.create_default_context(cafile=given.ca_file),
    )
    client.pool.protocol_class = Watching
    message = {"aps": {"alert": "hi"}, "notify_delivery_id": "of-another-client"}
    sent = await client.send_notification(NotificationRequest(sandbox.contact("apns", 1), message))
    assert sent.is_successful, sent.description
    refused = await client.send_notification(NotificationRequest("0" * 64, message))
    assert (refused.status, refused.description) == ("400", "BadDeviceToken")
    client.pool.close()
    assert limits == [1, 1000]
    assert len(sandbox.accepted("of-another-client")) == 1


async def test_a_new_apns_key_is_used_at_once_though_a_connection_stays_with_its_first_key(
    sandbox: Any, outbox_of: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = sandbox.config()
    file, id_file = tmp_path / "key.p8", tmp_path / "key-id"
    file.write_text(given.apns_key.reveal())
    id_file.write_text(given.apns_key_id.reveal())
    secrets = {"apns_key": Secret.read(file), "apns_key_id": Secret.read(id_file)}
    provider = sandbox.client("apns", **secrets, credential_check_s=0.05)
    await provider.start()
    outbox = outbox_of("push", lambda number: sandbox.contact("apns", number))
    first = [await provider.send(outbox.message()) for _ in range(3)]
    id_file.write_text(NEXT_KEY_ID)
    file.write_text((sandbox.keys / NEXT_APNS).read_text())
    await until(lambda: any(vars(one).get("action") == "credential.replaced" for one in caplog.records))
    later = [await provider.send(outbox.message()) for _ in range(3)]
    await provider.close()
    assert {(one.outcome, one.code) for one in (*first, *later)} == {(ProviderOutcome.ACCEPTED, None)}


async def test_a_token_that_is_renewed_soon_after_a_connection_began_is_taken(sandbox: Any, outbox_of: Any) -> None:
    provider = sandbox.client("apns")
    await provider.start()
    outbox = outbox_of("push", lambda number: sandbox.contact("apns", number))
    results = [await provider.send(outbox.message())]
    provider._tokens._issued_at -= 51 * 60
    results += [await provider.send(outbox.message()) for _ in range(3)]
    await provider.close()
    assert {(one.outcome, one.code) for one in results} == {(ProviderOutcome.ACCEPTED, None)}


async def test_goaway_costs_no_message_and_none_is_there_twice(sandbox: Any, outbox_of: Any) -> None:
    await sandbox.control(provider="apns", go_away=0.3, latency_ms=5, seed=3)
    outbox = outbox_of("push", lambda number: sandbox.contact("apns", number))
    provider = sandbox.client("apns", timeout_s=10.0)
    await provider.start()
    messages = [outbox.message() for _ in range(60)]
    results = await asyncio.gather(*map(provider.send, messages))
    await provider.close()
    accepted = [
        one.delivery_id
        for one, result in zip(messages, results, strict=True)
        if result.outcome is ProviderOutcome.ACCEPTED
    ]
    # A call that three connections in turn ignored is not repeated again, and counts as not begun.
    assert len(accepted) > 30
    assert {(result.outcome, result.begun) for result in results} <= {
        (ProviderOutcome.ACCEPTED, True),
        (ProviderOutcome.RETRY, False),
    }
    for one, result in zip(messages, results, strict=True):
        assert len(sandbox.accepted(one.delivery_id)) == (result.outcome is ProviderOutcome.ACCEPTED)
    async with aiohttp.request("GET", f"{sandbox.url}/health") as response:
        counts = (await response.json())["messages"]["apns"]
    assert counts["accept and go away"] > 5


async def test_a_connection_that_said_goaway_is_closed_after_its_answer(sandbox: Any) -> None:
    await sandbox.control(provider="apns", go_away=True)
    given = sandbox.config()
    context = ssl.create_default_context(cafile=given.ca_file)
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection("127.0.0.1", sandbox.ports["apns"], ssl=context)
    client = H2Connection()
    client.initiate_connection()
    headers = {
        ":method": "POST",
        ":scheme": "https",
        ":authority": "127.0.0.1",
        ":path": f"/3/device/{sandbox.contact('apns', 1)}",
        "authorization": f"bearer {ProviderTokens.of(given).token(time.time())}",
        "apns-topic": given.apns_topic,
    }
    client.send_headers(1, list(headers.items()))
    client.send_data(1, b'{"aps":{"alert":"hi"}}', end_stream=True)
    writer.write(client.data_to_send())
    async with asyncio.timeout(10):
        received = await reader.read()  # to the end
    writer.close()
    assert frames(received)[-2:] == [("GoAwayFrame", 1), ("HeadersFrame", 1)]


async def test_the_settings_of_the_sandbox_reach_the_devices_of_all_push_providers(
    sandbox: Any, outbox_of: Any
) -> None:
    """As the push roles of a local stack."""
    client, *_ = clients_with_budgets(sandbox.config(), "push", "push", time.time(), start_within_s=5.0)
    await client.start()
    outbox = outbox_of("push")
    messages = [
        outbox.message(to=sandbox.contact(provider, 1), provider=provider) for provider in ("fcm", "apns", "web_push")
    ]
    results = await asyncio.gather(*map(client.send, messages))
    await client.close()
    assert [(one.provider, one.outcome) for one in results] == [
        (message.provider, ProviderOutcome.ACCEPTED) for message in messages
    ]
    lines = [sandbox.accepted(message.delivery_id) for message in messages]
    assert [[line.provider for line in of_one] for of_one in lines] == [["fcm"], ["apns"], ["web_push"]]


@pytest.mark.parametrize("provider", ["apns", "web_push"])
async def test_a_check_takes_the_keys_of_the_sandbox_and_sends_nothing(sandbox: Any, provider: str) -> None:
    before = sandbox.record.stat().st_size
    assert "key" in await CHECKS[provider](sandbox.config())
    assert sandbox.record.stat().st_size == before


async def test_a_subscription_stays_the_same(sandbox: Any) -> None:
    found = []
    for name in ("u-1", "u-1", "u-2"):
        async with aiohttp.request("GET", f"{sandbox.url}/subscriptions/{name}") as response:
            assert response.status == 200
            found.append(await response.text())
    first, again, other = found
    assert first == again != other
    subscription = push_subscription(first)
    assert subscription is not None
    assert subscription.endpoint == f"https://127.0.0.1:{sandbox.ports['web_push']}/push/u-1"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (404, ProviderOutcome.DEAD_TOKEN),
        (410, ProviderOutcome.DEAD_TOKEN),
        (413, ProviderOutcome.TOO_LARGE),
        (429, ProviderOutcome.RETRY),
    ],
)
async def test_faults_of_web_push_are_statuses(
    sandbox: Any, outbox_of: Any, status: int, outcome: ProviderOutcome
) -> None:
    await sandbox.control(provider="web_push", fail={"status": status, "retry_after_s": 7.5})
    provider = sandbox.client("web_push")
    await provider.start()
    result = await provider.send(outbox_of("push").message(to=sandbox.contact("web_push", 1)))
    await provider.close()
    assert (result.outcome, result.retry_after_s) == (outcome, 7.5 if outcome is ProviderOutcome.RETRY else None)


@pytest.mark.parametrize(
    ("method", "path", "status"), [("POST", "/push/a b", 404), ("POST", "/push/u-1", 400), ("GET", "/push/u-1", 405)]
)
async def test_what_is_no_subscription_is_not_found(sandbox: Any, method: str, path: str, status: int) -> None:
    url = f"https://127.0.0.1:{sandbox.ports['web_push']}{path}"
    context = ssl.create_default_context(cafile=sandbox.config().ca_file)
    async with aiohttp.request(method, url, data=b"x", ssl=context) as response:
        assert response.status == status
        assert method == "GET" or "error" in orjson.loads(await response.read())
