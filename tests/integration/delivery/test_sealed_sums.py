"""The periods of a channel role's ledgers are sealed, with traffic and without."""

from functools import partial

from notify_streams.records.ids import ledger_id
from notify_streams.settings_retention import RetentionSettings
from notify_streams.stores.mongo import LEDGER, SEALED_SUMS
from tests.integration.delivery.delivery_fixtures import BUCKET, DeliveryEnvironment, Provider
from tests.integration.delivery.test_ownership import SlowProvider
from tests.waiting import until

SECONDS = RetentionSettings(topics_h=1.0, notifications_h=1.0, period_s=1)


async def test_what_was_delivered_in_a_period_is_sealed_when_it_is_over(env: DeliveryEnvironment) -> None:
    sealed = env.shards.collection(SEALED_SUMS, BUCKET)

    async def counted() -> list[int]:
        found = await sealed.find({"bucket": BUCKET}).sort("_id").to_list()
        return [one["closing"].get("sent", 0) for one in found]

    async def are_sealed(sent: int) -> bool:
        return bool(found := await counted()) and found[-1] == sent

    async with env.engine(Provider(), retention=SECONDS) as engine:
        await engine.deliver(await env.notify("a", "b"))
        await until(partial(are_sealed, 2))
        await engine.deliver(await env.notify("c"))
        await until(partial(are_sealed, 3))
    ledger = await env.shards.collection(LEDGER, BUCKET).find_one({"_id": ledger_id("push", "push", BUCKET)})
    last = (await sealed.find({"bucket": BUCKET}).sort("_id").to_list())[-1]
    assert ledger is not None and last["stage"] == "delivery"
    assert last["closing"]["next_offset"] == ledger["next_offset"] and last["period_end"] == ledger["sealed_to"]
    assert await env.books_close()


async def test_a_late_answer_that_a_ledger_counts_without_a_flush_is_sealed(env: DeliveryEnvironment) -> None:
    provider = SlowProvider()

    async def closing(name: str) -> int:
        last = await env.shards.collection(SEALED_SUMS, BUCKET).find_one({"bucket": BUCKET}, sort=[("_id", -1)])
        return 0 if last is None else int(last["closing"].get(name, 0))

    async with env.engine(provider, retention=SECONDS) as engine:
        await engine.deliver(await env.notify("a"))
        await until(partial(closing, "retrying"))
        provider.answer.set()
        await until(partial(closing, "resolved_sent"))
