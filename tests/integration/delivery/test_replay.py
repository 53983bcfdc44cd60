"""A replay of what a provider took, or may have taken, is marked and made at that provider."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec

from notify_streams.admin.deliveries import FoundDelivery, ReplayOptions, Selection, find_deliveries, replay_deliveries
from notify_streams.delivery.failed_receipts import MessagePlace
from notify_streams.delivery.providers import Outgoing
from notify_streams.records.channel_message import ChannelMessage, read_channel_message
from notify_streams.records.outcomes import Reason
from notify_streams.settings import Settings
from tests.builders import ABatch
from tests.integration.delivery.delivery_fixtures import (
    ACCEPTED,
    BUCKET,
    NOT_BEGUN,
    REJECTED,
    UNSURE,
    Check,
    DeliveryEnvironment,
    Provider,
)
from tests.integration.delivery.test_failover import Named
from tests.integration.delivery.test_receipts import a_receipt, apply
from tests.waiting import until


async def replay(env: DeliveryEnvironment, batch: ABatch, state: str, *, again: bool = False) -> None:
    """Replay the only delivery, which has ended in `state`."""
    found = [one async for one in find_deliveries(env.settings, env.shards, Selection(state=state))]
    done = await replay_of(env, batch, found, again=again)
    assert done["replayed"] == [read_channel_message(batch.records[0].value or b"").delivery_id]


async def replay_of(
    env: DeliveryEnvironment, batch: ABatch, found: Sequence[FoundDelivery], *, again: bool = False
) -> dict[str, list[str]]:
    """Replay what was found."""
    message = read_channel_message(batch.records[0].value or b"")

    async def find(settings: Settings, wanted: Mapping[str, MessagePlace]) -> dict[str, ChannelMessage]:
        return dict.fromkeys(wanted, message)

    options = ReplayOptions(again=again, expires_s=3600.0)
    return await replay_deliveries(env.settings, env.shards, found, options, dry_run=False, find=find)


def calls_of(provider: Provider) -> list[tuple[int, bool]]:
    """The number of each call, and whether it was marked."""
    return [(call.attempt, call.possible_duplicate) for call in provider.calls]


async def test_what_expired_in_doubt_is_marked_and_stays_with_its_provider(env: DeliveryEnvironment) -> None:
    check, first, second = Check(), Named("one", NOT_BEGUN), Named("two", UNSURE)

    async def expires(message: Outgoing) -> None:
        check.refused["t"] = Reason.EXPIRED

    second.before = expires
    batch = await env.notify("t", channel="sms")
    async with env.engine(first, check, "sms", failover=[second]) as engine:
        await engine.deliver(batch)
        await until(partial(env.is_in, "expired", channel="sms"))
    await replay(env, batch, "expired")
    first, taker = Named("one", ACCEPTED), Named("two", ACCEPTED)
    async with env.engine(first, None, "sms", generation=2, failover=[taker]):
        await until(partial(env.is_in, "sent", channel="sms"), "the replay")
        assert await env.books_close("sms")
    assert (calls_of(second), calls_of(first), calls_of(taker)) == ([(2, False)], [], [(4, True)])


async def test_what_failed_by_a_receipt_is_marked(env: DeliveryEnvironment) -> None:
    provider = Provider()
    batch = await env.notify("t")
    async with env.engine(provider) as engine:
        await engine.deliver(batch)
    await apply(env, a_receipt(state="failed", at=datetime.now(UTC).isoformat(), attempt=1))
    await replay(env, batch, "failed")
    async with env.engine(provider, generation=2):
        await until(partial(env.is_in, "sent"), "the replay")
    assert calls_of(provider) == [(1, False), (2, True)]


async def test_what_was_sent_is_marked_and_made_again_where_it_was_sent(env: DeliveryEnvironment) -> None:
    batch = await env.notify("t", channel="sms")
    async with env.engine(Named("one", NOT_BEGUN), None, "sms", failover=[Named("two")]) as engine:
        await engine.deliver(batch)
        await until(partial(env.is_in, "sent", channel="sms"))
    await replay(env, batch, "sent", again=True)
    (timer,) = await env.timers()
    assert (timer["in_doubt"], timer["provider"], timer["attempt"]) == (True, "two", 2)


async def test_what_was_delivered_and_is_replayed_is_called_until_a_provider_takes_it(env: DeliveryEnvironment) -> None:
    """Its first call has a receipt, the replay's first one has no answer."""
    batch = await env.notify("t")
    async with env.engine(Provider()) as engine:
        await engine.deliver(batch)
    await apply(env, a_receipt(attempt=1))
    await replay(env, batch, "delivered", again=True)
    provider = Provider(t=[UNSURE])
    async with env.engine(provider, generation=2):
        await until(env.no_timers, "the end of the replay")
    assert calls_of(provider) == [(2, True), (3, True)]
    assert await env.books_close()


async def test_what_no_provider_took_begins_with_the_first_one_and_without_a_mark(env: DeliveryEnvironment) -> None:
    first, second = Named("one", REJECTED), Named("two")
    batch = await env.notify("t", channel="sms")
    async with env.engine(first, None, "sms", failover=[second]) as engine:
        await engine.deliver(batch)
        assert await env.is_in("failed", channel="sms")
        await replay(env, batch, "failed")
        first.result = ACCEPTED
        await engine.own(BUCKET, 2)
        await until(partial(env.is_in, "sent", channel="sms"), "the replay")
    assert (calls_of(first), calls_of(second)) == ([(1, False), (2, False)], [])


async def test_of_two_operators_who_replay_the_same_delivery_one_does(env: DeliveryEnvironment) -> None:
    """Both have found it failed. The second one is done with its reading of Kafka when the first one's attempt has ended."""
    provider = Provider(t=[REJECTED])
    batch = await env.notify("t")
    async with env.engine(provider) as engine:
        await engine.deliver(batch)
        assert await env.is_in("failed")
        found = [one async for one in find_deliveries(env.settings, env.shards, Selection(state="failed"))]
        await replay(env, batch, "failed")
        (timer,) = await env.timers()
        again = await replay_of(env, batch, found)
        assert again["replayed"] == [found[0].id] and await env.timers() == [timer], "the timer stays as it is"
        await engine.own(BUCKET, 2)
        await until(partial(env.is_in, "sent"), "the replay")
        assert await replay_of(env, batch, found) == {name: [] for name in again} | {"changed": [found[0].id]}
    assert await env.timers() == [] and calls_of(provider) == [(1, False), (2, False)]


async def test_replays_of_many_large_messages_are_written_in_parts_that_a_command_takes(
    env: DeliveryEnvironment,
) -> None:
    ids = [f"t{number}" for number in range(80)]
    batch = await env.notify(*ids)
    refused: Any = {one: [REJECTED] for one in ids}
    async with env.engine(Provider(**refused)) as engine:
        await engine.deliver(batch)
        for one in ids:
            await until(partial(env.is_in, "failed", one))
    messages = [read_channel_message(record.value or b"") for record in batch.records]
    large = {one.delivery_id: msgspec.structs.replace(one, data={"text": "x" * 220_000}) for one in messages}

    async def find(settings: Settings, wanted: Mapping[str, MessagePlace]) -> dict[str, ChannelMessage]:
        return large

    found = [one async for one in find_deliveries(env.settings, env.shards, Selection(state="failed"))]
    done = await replay_deliveries(env.settings, env.shards, found, ReplayOptions(), dry_run=False, find=find)
    assert sorted(done["replayed"]) == sorted(large) and len(await env.timers()) == 80
