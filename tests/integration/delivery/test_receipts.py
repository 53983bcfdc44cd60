"""A provider's word on what it once took: it only lifts a state."""

import json

import pytest

from notify_streams import metrics
from notify_streams.delivery.receipts import ReceiptWriter
from notify_streams.errors import StoreUnavailable
from notify_streams.records.ids import notification_id
from notify_streams.settings import Settings
from tests.integration.delivery.delivery_fixtures import Provider, Room, batch_of

DELIVERY = f"{notification_id('t', 'u-42')}.push"


def a_receipt(**but) -> bytes:
    usual = {"delivery_id": DELIVERY, "state": "delivered", "at": "2026-11-22T12:00:00Z"}
    return json.dumps({name: value for name, value in (usual | but).items() if value is not ...}).encode()


async def apply(room, *values):
    await ReceiptWriter(room.shards, 5.0).apply(batch_of(*values, topic="receipts"))


async def test_what_was_sent_is_delivered(room):
    await room.delivery(Provider()).deliver(await room.notify("t"))
    await apply(room, a_receipt())
    found = await room.state()
    assert (found["state"], found["provider_id"]) == ("delivered", "p-1")


async def test_what_was_sent_and_did_not_arrive_has_failed(room):
    await room.delivery(Provider()).deliver(await room.notify("t"))
    await apply(room, a_receipt(state="failed"))
    assert (await room.state())["state"] == "failed"
    assert (await room.state())["reason"] == "provider_rejected"


@pytest.mark.parametrize("state", ["queued", "deferred", "suppressed", "expired", "failed", "delivered"])
async def test_a_receipt_lifts_nothing_else(room, state):
    await room.notify("t")
    await room.set_state(state=state)
    await apply(room, a_receipt(), a_receipt(state="failed"))
    assert (await room.state())["state"] == state


async def test_a_receipt_that_is_faster_than_the_worker_is_not_lost(room):
    """The provider's webhook comes before the worker has written that the provider took it."""
    provider = Provider()
    batch = await room.notify("t")

    async def webhook(_):
        await apply(room, a_receipt())

    provider.before = webhook
    await room.delivery(provider).deliver(batch)
    assert (await room.state())["state"] == "delivered"
    await room.delivery(provider).deliver(batch)
    assert len(provider.calls) == 1


async def test_a_repeat_changes_nothing_and_the_first_word_counts(room):
    await room.delivery(Provider()).deliver(await room.notify("t"))
    await apply(room, a_receipt(), a_receipt())
    await apply(room, a_receipt(state="failed"))
    assert (await room.state())["state"] == "delivered"


WRONG = [
    pytest.param(b"", id="empty"),
    pytest.param(b"hello", id="text"),
    pytest.param(b"\xff", id="not UTF-8"),
    pytest.param(a_receipt(delivery_id=...), id="no delivery"),
    pytest.param(a_receipt(delivery_id="nothing"), id="no channel"),
    pytest.param(a_receipt(delivery_id=DELIVERY.replace("push", "state")), id="a channel that there is not"),
    pytest.param(a_receipt(delivery_id="x" * 257 + ".push"), id="a long id"),
    pytest.param(a_receipt(state="sent"), id="another state"),
    pytest.param(a_receipt(at="2026-11-22T12:00:00"), id="no time zone"),
    pytest.param(a_receipt(at="0001-01-01T00:00:00+23:59"), id="a time before all times"),
    pytest.param(a_receipt(at="9999-12-31T23:59:59-23:59"), id="a time after all times"),
]


@pytest.mark.parametrize("value", WRONG)
async def test_what_is_no_receipt_is_counted_and_stops_nobody(room, value):
    def counted():
        return sum(
            metrics.REJECTED_RECORDS.labels("receipts", reason)._value.get() for reason in ("invalid", "not_json")
        )

    await room.delivery(Provider()).deliver(await room.notify("t"))
    before = counted()
    await apply(room, value, a_receipt())
    assert (await room.state())["state"] == "delivered" and counted() == before + 1


async def test_one_for_a_delivery_that_nobody_knows_changes_nothing(room):
    await apply(room, a_receipt(), a_receipt(delivery_id=DELIVERY.replace("push", "email")))
    assert await room.document() is None


async def test_a_shard_that_is_away_is_said_so():
    settings = Settings(
        region="us",
        kafka="n",
        redis="n",
        shards=("mongodb://127.0.0.1:1/?directConnection=true",),
    )
    async with Room(settings) as gone:
        with pytest.raises(StoreUnavailable):
            await ReceiptWriter(gone.shards, 0.2).apply(batch_of(a_receipt(), topic="receipts"))
