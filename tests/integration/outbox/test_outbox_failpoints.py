"""Each failpoint between a fetched batch and its acknowledgement is really passed, and an error there loses and doubles nothing."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from notify_streams import failpoints
from notify_streams.failpoints import NAMES, FailpointReached
from notify_streams.routing.router import Router
from tests.builders import AckRecorder, FakePeople, Placed, a_batch, categories, some_settings, trigger_json, users_of
from tests.integration.outbox.outbox_fixtures import EVEN, Bench
from tests.waiting import until

ON_THE_WAY_OUT = [name for name in NAMES if not name.endswith("_provider")]


@pytest.mark.parametrize("name", ON_THE_WAY_OUT)
async def test_an_error_at_a_failpoint_loses_and_doubles_nothing(
    bench: Bench, running: Callable[[Any], asyncio.Task[None]], monkeypatch: pytest.MonkeyPatch, name: Any
) -> None:
    (armed,) = failpoints.parse(f"{name}=raise@1").values()
    monkeypatch.setitem(failpoints._armed, name, armed)
    await bench.open()
    people = FakePeople()
    (user,) = users_of(EVEN, 1)
    people.add(user)
    router = Router(some_settings(), categories(), "standard", people, Placed())
    records = [trigger_json(id=identity, user_id=user, channels=["push"]) for identity in ("a", "b")]
    commit = bench.commit()
    running(commit.run())
    acks, position = AckRecorder(), 0
    while position < len(records):
        batch = a_batch(records[position], start=position, partition=EVEN)
        before = (acks.acknowledged, len(acks.refused))
        with suppress(FailpointReached):  # the transport delivers a batch again that its agent gave up
            await commit.submit(await router.take(batch, acks))
            await until(lambda before=before: (acks.acknowledged, len(acks.refused)) != before)
            # A refusal may come after the acknowledgement: it is read again all the same.
            position = acks.refused[-1] if len(acks.refused) > before[1] else position + 1
    # Rows are deleted when the worker has nothing else to do.
    await until(lambda: armed.passed, "the failpoint is on the way")
    assert await bench.trigger_ids() == ["a", "b"] and await bench.closes()
    assert list(dict.fromkeys(bench.broker.ids())) == ["a", "b"] and len(bench.broker.ids()) <= 3
    await until(lambda: not commit.flush_ids())
    assert await bench.rows() == []
