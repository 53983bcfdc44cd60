"""Views without their stores respond in time with 503 and Retry-After, and show no secret."""

import time
from typing import cast

import pytest

from notify_streams import refusals
from notify_streams.errors import StoreUnavailable
from notify_streams.outbox.outbox import Outbox
from notify_streams.regions.locations import Location
from notify_streams.retry import RetryPolicy
from notify_streams.transport.app_state import app_state
from notify_streams.web.user_lookup import UserLookup
from tests.unit.web.conftest import READ_TOKEN, WRITE_TOKEN, NewWorker, Visit

RIGHT = {"Authorization": f"Bearer {READ_TOKEN}"}
NEED_A_STORE = ["/ledger", "/outbox", "/users/u-1", "/notifications/t-1", "/notifications?user=u-1", "/dead-letters"]


@pytest.mark.parametrize("path", NEED_A_STORE)
async def test_an_unavailable_store_leads_to_503_with_retry_after(visit: Visit, path: str) -> None:
    client = await visit(redis="redis://:secret@127.0.0.1:1/0", shards=("mongodb://someone:secret@127.0.0.1:1/",))
    began = time.monotonic()
    response = await client.get(path, headers=RIGHT)
    assert response.status == 503
    assert int(response.headers["Retry-After"]) >= 1
    assert "secret" not in await response.text()
    assert time.monotonic() - began < 5


async def test_a_choice_is_not_acknowledged_without_the_registry(visit: Visit) -> None:
    client = await visit()
    headers = {"Authorization": f"Bearer {WRITE_TOKEN}"}
    response = await client.put("/users/u-1/preferences/marketing/push", headers=headers, data=b'{"opted_in": false}')
    assert response.status == 503
    assert "Retry-After" in response.headers


async def test_health_metrics_and_providers_need_no_store(visit: Visit) -> None:
    client = await visit()
    assert (await client.get("/live")).status == 200
    assert (await client.get("/providers")).status == 200
    scraped = await client.get("/metrics")
    assert "notify_triggers" in await scraped.text()
    assert scraped.headers["Content-Type"].startswith("text/plain; version=")


async def test_ready_says_what_a_service_refuses(visit: Visit) -> None:
    refusals.note("Kafka", "Kafka at a:1 refuses the user name or password (PLAIN)")
    client = await visit()
    found = await (await client.get("/ready")).json()
    assert not found["ready"] and "Kafka at a:1 refuses the user name or password (PLAIN)" in found["waiting_for"]


async def test_a_worker_without_partitions_is_not_ready(visit: Visit) -> None:
    client = await visit()
    response = await client.get("/ready")
    assert response.status == 503
    assert (await response.json())["waiting_for"]


async def test_a_failed_flush_loop_ends_the_liveness(visit: Visit, new_worker: NewWorker) -> None:
    worker = new_worker("standard")

    class Failed:
        failed = RuntimeError("about ann@example.org")

    worker.outbox = cast("Outbox", Failed())
    response = await (await visit(worker)).get("/live")
    assert response.status == 503
    text = await response.text()
    assert "RuntimeError" in text
    assert "ann@" not in text


async def test_no_response_is_cached(visit: Visit) -> None:
    client = await visit()
    for path in ("/", "/live", "/metrics", "/ledger", "/users/u-1"):
        assert (await client.get(path)).headers["Cache-Control"] == "no-store", path


async def test_the_root_returns_the_summary_as_json(visit: Visit) -> None:
    client = await visit()
    summary = await (await client.get("/", headers={"Accept": "application/json"})).json()
    assert (summary["region"], summary["role"]) == ("us", "views")
    assert summary["redis_trusted"] is False


async def test_a_worker_with_agents_shows_its_summary_to_everyone(visit: Visit, new_worker: NewWorker) -> None:
    client = await visit(new_worker("critical"))
    assert (await (await client.get("/")).json())["role"] == "critical"
    assert (await client.get("/lag")).status == 503


async def test_the_locations_table_supplies_the_region_without_the_registry(new_worker: NewWorker) -> None:
    worker = new_worker("standard")
    worker.locate = {"ann": Location("eu", 0, 1, None)}.get
    lookup = UserLookup(worker)
    try:
        found = await lookup.find("ann")
        assert found is not None
        assert found.region == "eu"
        with pytest.raises(StoreUnavailable):
            await lookup.find("unknown")  # not in the table does not mean not signed up
    finally:
        await lookup.close()


async def test_the_watchdog_judges_nothing_while_a_call_that_partitions_wait_for_fails(new_worker: NewWorker) -> None:
    holds = app_state(new_worker("receipts")).holds

    async def soon(_: float) -> None:
        return

    assert not any(hold() for hold in holds)
    beside = RetryPolicy("edge.push", 0.1, 1.0, sleep=soon).attempts()
    await beside.failed(StoreUnavailable("a point of presence is down"))
    assert not any(hold() for hold in holds)
    attempts = RetryPolicy("outbox.commit", 0.1, 1.0, sleep=soon).attempts()
    await attempts.failed(StoreUnavailable("a shard is down"))
    assert any(hold() for hold in holds)
    attempts.succeeded()
    assert not any(hold() for hold in holds)
