"""A category whose mails bounce is paused; its mails wait, expire as usual and hold up no other category."""

import logging
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import msgspec
import pytest

from notify_streams.delivery.pauses import ProviderPauses
from notify_streams.delivery.receipts import ReceiptProgress
from notify_streams.delivery.reputation import Reputation, ReputationCounts
from notify_streams.preferences.choices import in_whole_ms
from notify_streams.records.channel_message import read_channel_message
from notify_streams.records.outcomes import DeliveryState
from tests.builders import ABatch, ARecord, some_settings
from tests.integration.delivery.delivery_fixtures import DeliveryEnvironment, Provider, receipt_writer
from tests.integration.delivery.test_receipts import DELIVERY, a_receipt
from tests.waiting import until

LIMITS = {"min_sent": 20, "bounce_rate": 0.2, "complaint_rate": 0.1}


def a_reputation(env: DeliveryEnvironment) -> Reputation:
    settings = some_settings(reputation=LIMITS, providers={"mail_sender": "news@example.org"})
    return Reputation(settings, env.shards)


async def paused(env: DeliveryEnvironment) -> dict[str, str]:
    return {name: pause.why for name, pause in (await ProviderPauses(env.shards, 5.0).read()).items()}


async def test_a_category_above_a_limit_is_paused_once_until_an_operator_resumes_it(
    env: DeliveryEnvironment, caplog: pytest.LogCaptureFixture
) -> None:
    workers = [a_reputation(env), a_reputation(env)]
    for number in range(20):
        workers[number % 2].count_end("marketing", DeliveryState.SENT, None)
        workers[number % 2].count_end("payments", DeliveryState.SENT, None)
    for number in range(5):
        workers[number % 2].count_end("marketing", DeliveryState.FAILED, "dead_token")
    workers[0].count_end("marketing", DeliveryState.FAILED, "rendering")  # nothing was handed to a provider
    for worker in workers:
        await worker.flush()
    assert await paused(env) == {}, "5 of 25 is at the limit"
    with caplog.at_level(logging.ERROR, "notify_streams.delivery.reputation"):
        for worker in workers:
            worker.count_receipt("marketing", "bounced")
            await worker.flush()
    assert await paused(env) == {"email:marketing": "bounce rate 24.00% of 25 mails, limit 20.00%"}
    assert [record.action for record in caplog.records] == ["reputation.pause"]  # type: ignore[attr-defined]

    counts = ReputationCounts(env.shards, 5.0)
    await counts.forgive("marketing")
    await ProviderPauses(env.shards, 5.0).resume("email:marketing")
    workers[0].count_receipt("marketing", "bounced")
    await workers[0].flush()
    assert await paused(env) == {}
    since = datetime.now(UTC) - timedelta(hours=2)
    assert {name: one.handed for name, one in (await counts.rates(since)).items()} == {"marketing": 0, "payments": 20}


async def test_new_receipts_for_mails_are_counted_once(env: DeliveryEnvironment) -> None:
    counted: list[tuple[str, str | None]] = []
    await env.notify("t", channel="email")
    await env.notify("p")
    receipt = partial(a_receipt, state="failed", reason="bounced")
    mail = {"delivery_id": DELIVERY.replace("push", "email")}
    values = [receipt(**mail)] * 2 + [receipt(), a_receipt(**mail), a_receipt(reason="complaint", **mail)]
    batch = ABatch([ARecord(value, offset=offset) for offset, value in enumerate(values)], topic="receipts")
    for _ in range(2):
        await receipt_writer(env.shards, on_mail=lambda *one: counted.append(one)).apply(batch, ReceiptProgress())
    assert counted == [("payments", "bounced"), ("payments", None), ("payments", "complaint")]


async def test_mails_of_a_paused_category_wait_and_those_of_others_go_on(env: DeliveryEnvironment) -> None:
    pauses = ProviderPauses(env.shards, 5.0)
    await pauses.pause("email:marketing")
    text: dict[str, Any] = {"template": None, "title": "Title", "body": "Body", "channel": "email"}
    provider = Provider()
    state = partial(env.is_in, channel="email")
    async with env.engine(provider, channel="email", pace=0.0002) as engine:
        await until(lambda: engine.engine.provider_state().paused_categories == ["marketing"])
        soon = in_whole_ms(datetime.now(UTC)) + timedelta(seconds=1)
        await engine.deliver(await env.notify("waits", category="marketing", **text))
        ends = await env.notify("ends", category="marketing", **text)
        message = msgspec.structs.replace(read_channel_message(ends.records[0].value or b""), expires_at=soon)
        env.forget(ends)
        await engine.deliver(env.batch(msgspec.json.encode(message), topic="email"))
        await engine.deliver(await env.notify("goes", **text))
        assert await state("sent", "goes") and await state("retrying", "waits")
        await until(partial(state, "expired", "ends"))
        assert provider.ids() == ["goes"]
        await pauses.resume("email:marketing")
        await until(partial(state, "sent", "waits"))
    assert provider.ids() == ["goes", "waits"]
