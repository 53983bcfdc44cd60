"""One worker owns a delivery at a time, and its state never moves back."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from notify_streams.delivery.claims import Claim, ClaimResult, Claims, DeliveryEnd, new_token
from notify_streams.records.ids import notification_id
from notify_streams.records.outcomes import DeliveryState
from notify_streams.roles import Channel
from notify_streams.settings import Settings
from notify_streams.stores.mongo import Shards
from tests.builders import NOON
from tests.integration.delivery.delivery_fixtures import BUCKET, DeliveryEnvironment


def ids(*triggers: str) -> list[str]:
    return [notification_id(one, "u-42", "payments") for one in triggers]


(THE_ID,) = ids("t")


async def claim(
    env: DeliveryEnvironment, *triggers: str, token: str | None = None, channel: Channel = "push"
) -> ClaimResult:
    return await env.claims(channel).claim(BUCKET, ids(*(triggers or ("t",))), token or new_token(), NOON)


class ShardsWithHook(Shards):
    """Shards that await `hook` before the n-th command."""

    def __init__(self, settings: Settings, before_command: int, hook: Callable[[], Awaitable[None]]) -> None:
        super().__init__(settings)
        self._commands_left, self._hook = before_command, hook

    def database(self, shard: int) -> Any:
        return DatabaseWithHook(super().database(shard), self._before_command)

    async def _before_command(self) -> None:
        self._commands_left -= 1
        if self._commands_left == 0:
            await self._hook()


class DatabaseWithHook:
    def __init__(self, database: Any, hook: Callable[[], Awaitable[None]]) -> None:
        self._database, self._hook = database, hook

    def __getitem__(self, collection: str) -> Any:
        return self._database[collection]

    async def command(self, command: Any) -> Any:
        await self._hook()
        return await self._database.command(command)


def sent(claimed: Claim, state: DeliveryState = DeliveryState.SENT, **but: Any) -> DeliveryEnd:
    fields: dict[str, Any] = {"notification_id": THE_ID, "token": claimed.token, "attempts": claimed.attempt}
    return DeliveryEnd(**(fields | {"state": state} | but))


async def test_a_queued_delivery_is_claimed_without_a_mark(env: DeliveryEnvironment) -> None:
    await env.notify("t")
    claimed = await claim(env)
    mine = claimed.mine[THE_ID]
    assert (mine.attempt, mine.possible_duplicate, claimed.unknown) == (1, False, frozenset())
    assert await env.state() == {"state": "sending", "attempts": 1, "claim": mine.token}


async def test_a_repeated_claim_with_the_same_token_changes_nothing(env: DeliveryEnvironment) -> None:
    """The first call may have been written without a reply: the deliveries are not marked as possible duplicates."""
    await env.notify("t")
    token = new_token()
    first, second = await claim(env, token=token), await claim(env, token=token)
    assert first == second


@pytest.mark.parametrize("state", ["sent", "delivered", "failed", "expired", "suppressed"])
async def test_an_ended_delivery_is_not_claimed(env: DeliveryEnvironment, state: str) -> None:
    await env.notify("t")
    await env.set_state(state=state)
    claimed = await claim(env)
    assert not claimed.mine and not claimed.unknown
    assert (await env.state())["state"] == state


async def test_an_id_without_a_notification_is_unknown(env: DeliveryEnvironment) -> None:
    await env.notify("t")
    claimed = await claim(env, "t", "none")
    assert set(claimed.mine) == {THE_ID} and claimed.unknown == set(ids("none"))


async def test_a_notification_without_this_channel_is_unknown(env: DeliveryEnvironment) -> None:
    await env.notify("t", channel="email")
    claimed = await claim(env)
    assert not claimed.mine and claimed.unknown == {THE_ID}
    assert (await env.state(channel="email"))["state"] == "queued"


async def test_a_notification_in_another_bucket_is_unknown(env: DeliveryEnvironment) -> None:
    await env.notify("t")
    claimed = await env.claims().claim(BUCKET + 2, [THE_ID], new_token(), NOON)
    assert claimed.unknown == {THE_ID}


async def test_an_abandoned_claim_is_replaced_and_marked(env: DeliveryEnvironment) -> None:
    await env.notify("t")
    await claim(env)
    mine = (await claim(env)).mine[THE_ID]
    assert (mine.attempt, mine.possible_duplicate) == (2, True)


async def test_a_claim_without_a_token_is_replaced(env: DeliveryEnvironment) -> None:
    await env.notify("t")
    await env.set_state(state="sending")
    assert (await claim(env)).mine[THE_ID].possible_duplicate


async def test_of_concurrent_workers_one_owns_each_delivery(env: DeliveryEnvironment) -> None:
    triggers = [f"t{number}" for number in range(30)]
    await env.notify(*triggers)
    workers = [env.claims() for _ in range(6)]
    claimed = await asyncio.gather(*(one.claim(BUCKET, ids(*triggers), new_token(), NOON) for one in workers))
    verified = [await worker.verify_claims(BUCKET, one.mine) for worker, one in zip(workers, claimed, strict=True)]
    assert sum(map(len, verified)) == 30 == len(set().union(*verified))
    for identity in ids(*triggers):
        unmarked = [
            one.mine[identity] for one in claimed if identity in one.mine and not one.mine[identity].possible_duplicate
        ]
        assert len(unmarked) == 1, "each replaced claim is marked"


async def test_of_concurrent_workers_one_replaces_an_abandoned_claim(env: DeliveryEnvironment) -> None:
    await env.notify("t")
    await claim(env)
    for _ in range(5):
        before = (await env.state())["claim"]
        claimed = await asyncio.gather(*(claim(env) for _ in range(6)))
        after = (await env.state())["claim"]
        holders = [one.mine[THE_ID].token for one in claimed if THE_ID in one.mine]
        assert after in holders and before not in holders


async def test_a_replaced_claim_is_not_verified_and_cannot_end_the_delivery(env: DeliveryEnvironment) -> None:
    await env.notify("t")
    old = await claim(env)
    new = await claim(env)
    claims = env.claims()
    assert await claims.verify_claims(BUCKET, old.mine) == set()
    assert await claims.verify_claims(BUCKET, new.mine) == {THE_ID}
    await claims.end(BUCKET, [sent(old.mine[THE_ID], DeliveryState.FAILED, reason="dead_token")], NOON)
    assert (await env.state())["state"] == "sending"
    await claims.end(BUCKET, [sent(new.mine[THE_ID], provider="fcm", provider_id="p")], NOON)
    assert await env.state() == {"state": "sent", "attempts": 2, "provider": "fcm", "provider_id": "p"}


async def test_writing_an_end_twice_changes_nothing(env: DeliveryEnvironment) -> None:
    await env.notify("t")
    mine = (await claim(env)).mine[THE_ID]
    claims = env.claims()
    await claims.end(BUCKET, [sent(mine)], NOON)
    await claims.end(BUCKET, [sent(mine, DeliveryState.FAILED)], NOON)
    assert (await env.state())["state"] == "sent"
    await claims.end(BUCKET, [], NOON)


@pytest.mark.parametrize("with_token", [True, False])
async def test_a_delivery_that_ends_while_its_claim_is_replaced_stays_ended(
    env: DeliveryEnvironment, with_token: bool
) -> None:
    """The old worker writes its end after the new one has read the delivery and before it replaces the claim."""
    await env.notify("t")
    old = (await claim(env)).mine[THE_ID]
    if not with_token:
        await env.set_state(claim=None)

    async def end() -> None:
        if with_token:
            await env.claims().end(BUCKET, [sent(old)], NOON)
        else:
            await env.set_state(state="sent")

    async with ShardsWithHook(env.settings, before_command=2, hook=end) as shards:
        assert not (await Claims(shards, "push", 5.0).claim(BUCKET, [THE_ID], new_token(), NOON)).mine
    assert (await env.state())["state"] == "sent"
