"""A delivery belongs to one worker at a time, and its state only moves up."""

import asyncio

import pytest

from notify_streams.delivery.claims import DeliveryEnd, new_token
from notify_streams.records.ids import notification_id
from notify_streams.records.outcomes import DeliveryState
from tests.builders import NOON
from tests.integration.delivery.delivery_fixtures import BUCKET


def ids(*triggers: str) -> list[str]:
    return [notification_id(one, "u-42") for one in triggers]


(THE_ID,) = ids("t")


async def take(room, *triggers, token=None, channel="push"):
    return await room.claims(channel).take(BUCKET, ids(*(triggers or ("t",))), token or new_token(), NOON)


def sent(claim, state=DeliveryState.SENT, **but):
    return DeliveryEnd(
        **({"notification_id": THE_ID, "token": claim.token, "state": state, "attempts": claim.attempt} | but)
    )


async def test_what_is_queued_is_claimed_and_unmarked(room):
    await room.notify("t")
    claimed = await take(room)
    claim = claimed.mine[THE_ID]
    assert (claim.attempt, claim.possible_duplicate, claimed.unknown) == (1, False, frozenset())
    assert await room.state() == {"state": "sending", "attempts": 1, "claim": claim.token}


async def test_the_same_worker_asking_again_has_its_claims_still(room):
    """Its first try may have been written and the answer lost: that is no reason to mark the call."""
    await room.notify("t")
    token = new_token()
    first, second = await take(room, token=token), await take(room, token=token)
    assert first == second


@pytest.mark.parametrize("state", ["sent", "delivered", "failed", "expired", "suppressed"])
async def test_what_has_ended_is_nobodys(room, state):
    await room.notify("t")
    await room.set_state(state=state)
    claimed = await take(room)
    assert not claimed.mine and not claimed.unknown
    assert (await room.state())["state"] == state


async def test_what_was_never_decided_is_unknown(room):
    await room.notify("t")
    claimed = await take(room, "t", "nobody's")
    assert set(claimed.mine) == {THE_ID} and claimed.unknown == set(ids("nobody's"))


async def test_a_notification_without_this_channel_is_unknown(room):
    await room.notify("t", channel="email")
    claimed = await take(room)
    assert not claimed.mine and claimed.unknown == {THE_ID}
    assert (await room.state(channel="email"))["state"] == "queued"


async def test_another_bucket_is_another_place(room):
    await room.notify("t")
    claimed = await room.claims().take(BUCKET + 2, [THE_ID], new_token(), NOON)
    assert claimed.unknown == {THE_ID}


async def test_what_was_left_behind_is_taken_over_and_marked(room):
    await room.notify("t")
    await take(room)
    claim = (await take(room)).mine[THE_ID]
    assert (claim.attempt, claim.possible_duplicate) == (2, True)


async def test_a_claim_without_a_token_can_be_taken_over(room):
    await room.notify("t")
    await room.set_state(state="sending")
    assert (await take(room)).mine[THE_ID].possible_duplicate


async def test_of_many_workers_that_race_the_database_knows_one(room):
    triggers = [f"t{number}" for number in range(30)]
    await room.notify(*triggers)
    workers = [room.claims() for _ in range(6)]
    claimed = await asyncio.gather(*(one.take(BUCKET, ids(*triggers), new_token(), NOON) for one in workers))
    still = [await worker.still_mine(BUCKET, one.mine) for worker, one in zip(workers, claimed, strict=True)]
    assert sum(map(len, still)) == 30 == len(set().union(*still))
    for identity in ids(*triggers):
        unmarked = [
            one.mine[identity] for one in claimed if identity in one.mine and not one.mine[identity].possible_duplicate
        ]
        assert len(unmarked) == 1, "whoever takes over knows it"


async def test_of_many_workers_that_take_over_one_does(room):
    await room.notify("t")
    await take(room)
    for _ in range(5):
        before = (await room.state())["claim"]
        claimed = await asyncio.gather(*(take(room) for _ in range(6)))
        after = (await room.state())["claim"]
        holders = [one.mine[THE_ID].token for one in claimed if THE_ID in one.mine]
        assert after in holders and before not in holders


async def test_a_claim_that_was_taken_over_is_no_longer_mine_and_cannot_end_it(room):
    await room.notify("t")
    old = await take(room)
    new = await take(room)
    claims = room.claims()
    assert await claims.still_mine(BUCKET, old.mine) == set()
    assert await claims.still_mine(BUCKET, new.mine) == {THE_ID}
    await claims.end(BUCKET, [sent(old.mine[THE_ID], DeliveryState.FAILED, reason="dead_token")], NOON)
    assert (await room.state())["state"] == "sending"
    await claims.end(BUCKET, [sent(new.mine[THE_ID], provider="fcm", provider_id="p")], NOON)
    assert await room.state() == {"state": "sent", "attempts": 2, "provider": "fcm", "provider_id": "p"}


async def test_writing_an_end_twice_changes_nothing(room):
    await room.notify("t")
    claim = (await take(room)).mine[THE_ID]
    claims = room.claims()
    await claims.end(BUCKET, [sent(claim)], NOON)
    await claims.end(BUCKET, [sent(claim, DeliveryState.FAILED)], NOON)
    assert (await room.state())["state"] == "sent"
    await claims.end(BUCKET, [], NOON)


@pytest.mark.parametrize("with_token", [True, False])
async def test_a_delivery_that_is_ended_while_it_is_taken_over_stays_ended(room, with_token):
    """The old worker writes its end between the new one's look and its claim."""
    await room.notify("t")
    old = (await take(room)).mine[THE_ID]
    if not with_token:
        await room.set_state(claim=None)
    new = room.claims()
    real = new._take_over

    async def late(*args):
        if with_token:
            await room.claims().end(BUCKET, [sent(old)], NOON)
        else:
            await room.set_state(state="sent")
        return await real(*args)

    new._take_over = late
    assert not (await new.take(BUCKET, [THE_ID], new_token(), NOON)).mine
    assert (await room.state())["state"] == "sent"
