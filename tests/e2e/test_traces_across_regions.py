"""A trigger that enters one region and is delivered in another is one trace, and so is the receipt that comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.e2e.processes import until
from tests.e2e.running_region import QUICK, a_new_id
from tests.e2e.several_regions import TIMEOUT_S, Regions, known_everywhere, start_regions
from tests.e2e.trace_reading import assert_says_nothing_of, report_delivered, send_traced, way, whole_trace
from tests.local_services import own_stack
from tests.recorded_spans import OtlpReceiver, otlp_receiver

ROLES = ("critical", "standard", "push", "registry", "forward", "receipts", "views", "webhooks")

pytestmark = [pytest.mark.drill, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def traced_regions() -> AsyncIterator[tuple[Regions, OtlpReceiver]]:
    async with otlp_receiver() as receiver, own_stack("traces") as stack, AsyncExitStack() as closing:
        more = {**QUICK, "NOTIFY_TRACING__ENDPOINT": receiver.url}
        yield await start_regions(stack, closing, ROLES, ("us", "eu"), more), receiver


async def test_a_trace_goes_across_a_forward_and_its_receipt(traced_regions: tuple[Regions, OtlpReceiver]) -> None:
    regions, receiver = traced_regions
    us, eu = regions.values()
    user_id = a_new_id("far")
    await us.sign_up(user_id, home="eu", email=None)
    for region in regions.values():
        await region.drained()
    await known_everywhere(regions, user_id, "eu")
    trigger_id, client = await send_traced(us, user_id)

    async def is_sent() -> bool:
        return (await eu.deliveries(trigger_id, user_id)).get("push") == "sent"

    await until(is_sent, "the push is sent", within_s=TIMEOUT_S)
    await report_delivered(us, eu, trigger_id, user_id)
    spans = await whole_trace(receiver, client, "receipt", "call", "deliver", "outbox", "forward", "trigger")
    (receipt,) = [one for one in spans if one.name == "receipt"]
    assert way(spans, receipt) == [
        "eu receipts receipt",
        "eu push call",
        "eu push deliver",
        "eu standard outbox",
        "eu standard trigger",
        "us forward forward",
        "us standard outbox",
        "us standard trigger",
        f"{client.span_id:016x}",
    ]
    assert_says_nothing_of(receiver, user_id)
