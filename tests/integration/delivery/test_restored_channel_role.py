"""A channel role after a restore with the Kafka of before: its messages of lost decisions are left out, what may have been sent is marked."""

from __future__ import annotations

from notify_streams.delivery.delivery_ledger import DeliveryLedger, Restored, Token, restored_fields
from notify_streams.stores.mongo import LEDGER
from tests.integration.delivery.delivery_fixtures import BUCKET, DeliveryEnvironment, Provider


async def test_messages_of_lost_decisions_are_left_out_and_those_of_the_new_ones_are_marked(
    env: DeliveryEnvironment,
) -> None:
    # The triggers have the positions 0 to 3. The backup's router had decided the first, and 3 records were there at the restore.
    queued, lost = await env.notify("queued"), await env.notify("lost")
    await DeliveryLedger(env.shards, "push", 5.0).create({BUCKET: 0}, Token(7))
    restored = restored_fields(Restored(2, False, {"triggers.payments": (1, 3)}))
    await env.shards.collection(LEDGER, BUCKET).update_one({}, {"$set": {"claimed_to": 2, "restored": restored}})
    again = env.batch(*[record.value for record in lost.records])
    unread, fresh = await env.notify("unread"), await env.notify("fresh")

    provider = Provider()
    async with env.engine(provider, generation=7) as engine:
        for batch in (queued, lost, again, unread, fresh):
            await engine.deliver(batch)
    assert provider.ids() == ["queued", "lost", "unread", "fresh"]
    assert [call.possible_duplicate for call in provider.calls] == [True, True, True, False]
    assert await env.counts() == {"taken": 5, "fresh": 4, "sent": 4, "duplicate": 1} and await env.books_close()


async def test_after_a_crash_the_new_decision_is_counted_once(env: DeliveryEnvironment) -> None:
    """The message that was left out does not stand for the one that follows."""
    lost = await env.notify("lost")
    await DeliveryLedger(env.shards, "push", 5.0).create({BUCKET: 0}, Token(7))
    restored = restored_fields(Restored(1, False, {"triggers.payments": (0, 1)}))
    await env.shards.collection(LEDGER, BUCKET).update_one({}, {"$set": {"claimed_to": 1, "restored": restored}})
    again = env.batch(*[record.value for record in lost.records])
    for generation in (7, 8):
        async with env.engine(Provider(), generation=generation) as engine:
            await engine.deliver(lost if generation == 7 else again)
    assert await env.counts() == {"taken": 2, "fresh": 1, "sent": 1, "duplicate": 1} and await env.books_close()
