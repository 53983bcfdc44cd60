"""Between its claim and its call a message may have to wait: then everything that allowed the call is looked at again."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from notify_streams.delivery.providers import ProviderOutcome, ProviderResult
from notify_streams.errors import RetryLater, StoreUnavailable
from notify_streams.records.outcomes import Reason
from tests.integration.delivery.delivery_fixtures import (
    ACCEPTED,
    NOT_BEGUN,
    RETRY,
    Check,
    Provider,
    batch_of,
)
from tests.waiting import until


@pytest.mark.parametrize(
    ("reason", "state"),
    [(Reason.OPTED_OUT, "suppressed"), (Reason.EXPIRED, "expired"), (Reason.NOT_OPTED_IN, "suppressed")],
)
async def test_what_may_not_be_sent_is_not(room, reason, state):
    provider = Provider()
    await room.delivery(provider, Check({"no": reason})).deliver(await room.notify("yes", "no"))
    assert provider.ids() == ["yes"]
    assert await room.state("no") == {"state": state, "reason": reason.value, "attempts": 1}


async def test_an_opt_out_between_two_tries_ends_it(room):
    check = Check()
    provider = Provider(t=[RETRY, ACCEPTED])

    async def opt_out(_):
        check.refused["t"] = Reason.OPTED_OUT

    provider.before = opt_out
    await room.delivery(provider, check).deliver(await room.notify("t"))
    assert len(provider.calls) == 1
    assert (await room.state())["reason"] == "opted_out"


async def test_it_expires_while_it_is_tried_again(room):
    batch = await room.notify("t")
    message = msgspec.json.decode(batch.records[0].value)
    message["expires_at"] = (datetime.now(UTC) + timedelta(milliseconds=400)).isoformat()
    provider = Provider(t=[NOT_BEGUN] * 1000)
    await room.delivery(provider).deliver(batch_of(msgspec.json.encode(message)))
    assert (await room.state())["state"] == "expired"
    assert 1 <= len(provider.calls) < 20, "pauses grow"


async def test_a_check_that_cannot_be_made_lets_nothing_through(room):
    check, provider, troubles = Check(), Provider(), []

    async def fail():
        if len(troubles) < 3:
            troubles.append(len(provider.calls))
            raise RetryLater("nobody knows")

    check.before = fail
    await room.delivery(provider, check).deliver(await room.notify("t"))
    assert troubles == [0, 0, 0] and provider.ids() == ["t"]


async def test_a_call_that_would_begin_too_late_is_checked_again(room):
    """Two calls fit into the first check; everyone else's must see a later one."""
    check, provider = Check(good_s=0.15), Provider(max_in_flight=1)
    provider.before = lambda _: asyncio.sleep(0.1)
    await room.delivery(provider, check).deliver(await room.notify(*"abcdef"))
    assert sorted(provider.ids()) == list("abcdef") and len(check.asked) >= 3
    assert [len(asked) for asked in check.asked] == sorted((len(asked) for asked in check.asked), reverse=True)


async def test_a_worker_that_lost_its_claim_while_it_stood_still_does_not_call(room):
    """It stands still between claim and check for longer than a claim is good for; another takes over meanwhile, and calls."""
    batch = await room.notify("t")
    other, mine, check = Provider(), Provider(), Check()

    async def stand_still():
        check.before = None
        await room.delivery(other).deliver(batch)
        await asyncio.sleep(1.05)

    check.before = stand_still
    await room.delivery(mine, check).deliver(batch)
    assert len(other.calls) == 1 and other.calls[0].possible_duplicate
    assert not mine.calls
    assert (await room.state())["state"] == "sent"


async def test_a_worker_that_lost_its_claim_between_two_tries_does_not_call_again(room):
    batch = await room.notify("t")
    mine, other = (
        Provider(t=[ProviderResult(outcome=ProviderOutcome.RETRY, provider="fake", retry_after_s=1.2)]),
        Provider(),
    )
    slow = asyncio.create_task(room.delivery(mine).deliver(batch))
    await until(lambda: mine.calls)
    await room.delivery(other).deliver(batch)
    await slow
    assert (len(mine.calls), len(other.calls)) == (1, 1)
    assert (await room.state())["state"] == "sent"


async def test_one_that_must_wait_keeps_nobody_else_and_its_own_pause(room):
    """What is late goes on at once; what a provider asked to leave alone is left alone all the same."""
    check = Check(good_s=0.1)
    asked = ProviderResult(outcome=ProviderOutcome.RETRY, provider="fake", retry_after_s=0.8)
    provider = Provider(max_in_flight=2, a=[asked, ACCEPTED])
    provider.before = lambda _: asyncio.sleep(0.08)
    await room.delivery(provider, check).deliver(await room.notify(*"abcdefgh"))
    at = dict(zip(provider.ids(), provider.called_at, strict=True))
    first = provider.called_at[provider.ids().index("a")]
    assert at["a"] - first >= 0.8
    assert max(moment for one, moment in at.items() if one != "a") < at["a"]


async def test_ends_are_written_while_others_are_still_tried(room):
    """A crash now would double only what is under way."""
    batch = await room.notify("quick", "slow")
    provider = Provider(slow=[NOT_BEGUN] * 1000)
    working = asyncio.create_task(room.delivery(provider).deliver(batch))
    await until(lambda: provider.ids().count("slow") > 1)
    assert (await room.state("quick"))["state"] == "sent"
    assert (await room.state("slow"))["state"] == "sending"
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


async def test_a_database_that_is_away_is_waited_for_and_nothing_is_called_twice(room):
    claims = room.claims()
    lost = {"take": 2, "still_mine": 2, "end": 2}

    def losing(name):
        real = getattr(claims, name)

        async def ask(*args):
            found = await real(*args)
            if lost[name]:
                lost[name] -= 1
                raise StoreUnavailable("the answer is lost")
            return found

        return ask

    for name in lost:
        setattr(claims, name, losing(name))
    provider = Provider(t=[ProviderResult(outcome=ProviderOutcome.RETRY, provider="fake", retry_after_s=1.1), ACCEPTED])
    await room.delivery(provider, claims=claims).deliver(await room.notify("t"))
    assert lost == {"take": 0, "still_mine": 0, "end": 0}
    assert [(call.attempt, call.possible_duplicate) for call in provider.calls] == [(1, False), (2, False)]
    assert await room.state() == {"state": "sent", "attempts": 2, "provider": "fake", "provider_id": "p-1"}
