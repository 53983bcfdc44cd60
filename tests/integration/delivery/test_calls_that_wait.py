"""A message that waits between its claim and its call is checked again before the call."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from notify_streams.delivery.claims import ClaimResult, Claims
from notify_streams.delivery.providers import ProviderOutcome, ProviderResult
from notify_streams.errors import RetryLater, StoreUnavailable
from notify_streams.records.outcomes import Reason
from notify_streams.roles import Channel
from notify_streams.stores.mongo import Shards
from tests.integration.delivery.delivery_fixtures import (
    ACCEPTED,
    NOT_BEGUN,
    RETRY,
    Check,
    DeliveryEnvironment,
    Provider,
    batch_of,
)
from tests.waiting import until


class LosingClaims(Claims):
    """Executes each call and then loses the first two replies of each method."""

    def __init__(self, shards: Shards, channel: Channel, timeout_s: float) -> None:
        super().__init__(shards, channel, timeout_s)
        self.replies_to_lose = {"claim": 2, "verify_claims": 2, "end": 2}

    async def claim(self, *args: Any) -> ClaimResult:
        result = await super().claim(*args)
        self._lose_reply("claim")
        return result

    async def verify_claims(self, *args: Any) -> set[str]:
        result = await super().verify_claims(*args)
        self._lose_reply("verify_claims")
        return result

    async def end(self, *args: Any) -> None:
        await super().end(*args)
        self._lose_reply("end")

    def _lose_reply(self, method: str) -> None:
        if self.replies_to_lose[method]:
            self.replies_to_lose[method] -= 1
            raise StoreUnavailable("the reply was lost")


@pytest.mark.parametrize(
    ("reason", "state"),
    [(Reason.OPTED_OUT, "suppressed"), (Reason.EXPIRED, "expired"), (Reason.NOT_OPTED_IN, "suppressed")],
)
async def test_a_suppressed_message_is_not_sent(env: DeliveryEnvironment, reason: Reason, state: str) -> None:
    provider = Provider()
    await env.delivery(provider, Check({"no": reason})).deliver(await env.notify("yes", "no"))
    assert provider.ids() == ["yes"]
    assert await env.state("no") == {"state": state, "reason": reason.value, "attempts": 1}


async def test_an_opt_out_between_two_attempts_ends_the_delivery(env: DeliveryEnvironment) -> None:
    check = Check()
    provider = Provider(t=[RETRY, ACCEPTED])

    async def opt_out(_: object) -> None:
        check.refused["t"] = Reason.OPTED_OUT

    provider.before = opt_out
    await env.delivery(provider, check).deliver(await env.notify("t"))
    assert len(provider.calls) == 1
    assert (await env.state())["reason"] == "opted_out"


async def test_a_message_expires_between_attempts(env: DeliveryEnvironment) -> None:
    batch = await env.notify("t")
    message = msgspec.json.decode(batch.records[0].value or b"")
    message["expires_at"] = (datetime.now(UTC) + timedelta(milliseconds=400)).isoformat()
    provider = Provider(t=[NOT_BEGUN] * 1000)
    await env.delivery(provider).deliver(batch_of(msgspec.json.encode(message)))
    assert (await env.state())["state"] == "expired"
    assert 1 <= len(provider.calls) < 20, "delays grow"


async def test_nothing_is_sent_while_the_check_fails(env: DeliveryEnvironment) -> None:
    check, provider = Check(), Provider()
    calls_at_failure: list[int] = []

    async def fail() -> None:
        if len(calls_at_failure) < 3:
            calls_at_failure.append(len(provider.calls))
            raise RetryLater("no store responds")

    check.before = fail
    await env.delivery(provider, check).deliver(await env.notify("t"))
    assert calls_at_failure == [0, 0, 0] and provider.ids() == ["t"]


async def test_a_call_that_would_begin_too_late_is_checked_again(env: DeliveryEnvironment) -> None:
    """Two calls begin while the first check is valid; the others need a later check."""
    check, provider = Check(good_s=0.15), Provider(max_in_flight=1)
    provider.before = lambda _: asyncio.sleep(0.1)
    await env.delivery(provider, check).deliver(await env.notify(*"abcdef"))
    assert sorted(provider.ids()) == list("abcdef") and len(check.checked) >= 3
    assert [len(ids) for ids in check.checked] == sorted((len(ids) for ids in check.checked), reverse=True)


async def test_a_paused_worker_whose_claim_was_replaced_does_not_call(env: DeliveryEnvironment) -> None:
    """The pause between claim and check is longer than a claim is valid; meanwhile another worker calls."""
    batch = await env.notify("t")
    other, mine, check = Provider(), Provider(), Check()

    async def pause() -> None:
        check.before = None
        await env.delivery(other).deliver(batch)
        await asyncio.sleep(1.05)

    check.before = pause
    await env.delivery(mine, check).deliver(batch)
    assert len(other.calls) == 1 and other.calls[0].possible_duplicate
    assert not mine.calls
    assert (await env.state())["state"] == "sent"


async def test_a_worker_whose_claim_was_replaced_between_attempts_does_not_call_again(env: DeliveryEnvironment) -> None:
    batch = await env.notify("t")
    mine, other = (
        Provider(t=[ProviderResult(outcome=ProviderOutcome.RETRY, provider="fake", retry_after_s=1.2)]),
        Provider(),
    )
    slow = asyncio.create_task(env.delivery(mine).deliver(batch))
    await until(lambda: mine.calls)
    await env.delivery(other).deliver(batch)
    await slow
    assert (len(mine.calls), len(other.calls)) == (1, 1)
    assert (await env.state())["state"] == "sent"


async def test_a_message_that_must_wait_delays_no_other_and_keeps_its_delay(env: DeliveryEnvironment) -> None:
    """Late messages are checked and sent at once; a message with `Retry-After` waits as long as the provider asks."""
    check = Check(good_s=0.1)
    busy = ProviderResult(outcome=ProviderOutcome.RETRY, provider="fake", retry_after_s=0.8)
    provider = Provider(max_in_flight=2, a=[busy, ACCEPTED])
    provider.before = lambda _: asyncio.sleep(0.08)
    await env.delivery(provider, check).deliver(await env.notify(*"abcdefgh"))
    at = dict(zip(provider.ids(), provider.called_at, strict=True))
    first = provider.called_at[provider.ids().index("a")]
    assert at["a"] - first >= 0.8
    assert max(moment for one, moment in at.items() if one != "a") < at["a"]


async def test_ends_are_written_while_other_messages_are_retried(env: DeliveryEnvironment) -> None:
    """A crash then repeats only the calls in progress."""
    batch = await env.notify("quick", "slow")
    provider = Provider(slow=[NOT_BEGUN] * 1000)
    working = asyncio.create_task(env.delivery(provider).deliver(batch))
    await until(lambda: provider.ids().count("slow") > 1)
    assert (await env.state("quick"))["state"] == "sent"
    assert (await env.state("slow"))["state"] == "sending"
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


async def test_lost_replies_of_the_database_are_retried_without_repeated_calls(env: DeliveryEnvironment) -> None:
    claims = LosingClaims(env.shards, "push", 5.0)
    provider = Provider(t=[ProviderResult(outcome=ProviderOutcome.RETRY, provider="fake", retry_after_s=1.1), ACCEPTED])
    await env.delivery(provider, claims=claims).deliver(await env.notify("t"))
    assert claims.replies_to_lose == {"claim": 0, "verify_claims": 0, "end": 0}
    assert [(call.attempt, call.possible_duplicate) for call in provider.calls] == [(1, False), (2, False)]
    assert await env.state() == {"state": "sent", "attempts": 2, "provider": "fake", "provider_id": "p-1"}
