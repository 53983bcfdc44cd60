"""An error at any failpoint of the outbox loses and doubles nothing."""

from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from notify_streams.failpoints import ROUTER_NAMES, FailpointReached, armed
from notify_streams.routing.router import Router
from tests.builders import (
    AckRecorder,
    FakePlacements,
    FakeRecipients,
    a_batch,
    categories,
    some_settings,
    templates,
    trigger_json,
    users_of,
)
from tests.integration.outbox.conftest import Run
from tests.integration.outbox.outbox_fixtures import EVEN, Bench
from tests.waiting import until


def changed(acks: AckRecorder, before: tuple[int, int]) -> bool:
    return (acks.acknowledged, len(acks.refused)) != before


@pytest.mark.parametrize("name", ROUTER_NAMES)
async def test_an_error_at_a_failpoint_loses_and_doubles_nothing(bench: Bench, running: Run, name: str) -> None:
    with armed(f"{name}=raise@1") as points:
        await bench.open()
        recipients: Any = FakeRecipients()
        (user,) = users_of(EVEN, 1)
        recipients.add(user)
        router = Router(some_settings(), categories(), templates(), "standard", recipients, FakePlacements())
        records = [trigger_json(id=trigger_id, user_id=user, channels=["push"]) for trigger_id in ("a", "b")]
        loop = bench.flush_loop()
        running(loop.run())
        acks, position = AckRecorder(), 0
        while position < len(records):
            batch = a_batch(records[position], start=position, partition=EVEN)
            before = (acks.acknowledged, len(acks.refused))
            with suppress(FailpointReached):  # the transport delivers a batch again when its agent fails
                await loop.submit(await router.decide_batch(batch, acks))
                await until(partial(changed, acks, before))
                # A refusal may come after the acknowledgement; the batch is read again anyway.
                position = acks.refused[-1] if len(acks.refused) > before[1] else position + 1
        # Rows are deleted when the loop is idle.
        await until(lambda: points[name].passed, "the failpoint is passed")
        assert await bench.trigger_ids() == ["a", "b"] and await bench.ledgers_add_up()
        assert list(dict.fromkeys(bench.broker.ids())) == ["a", "b"] and len(bench.broker.ids()) <= 3
        await until(lambda: not loop.flush_ids())
        assert await bench.rows() == []
