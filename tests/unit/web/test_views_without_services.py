"""What is shown when stores are away: 503 in time, with Retry-After and without a secret; the dashboard says who is silent."""

import time

import pytest

from notify_streams.errors import StoreUnavailable
from notify_streams.regions.locations import Location
from notify_streams.web.user_lookup import UserLookup

RIGHT = {"Authorization": "Bearer the-token"}
NEED_A_STORE = ["/ledger", "/outbox", "/users/u-1", "/notifications/t-1", "/dead-letters"]


@pytest.mark.parametrize("path", NEED_A_STORE)
async def test_a_store_that_is_away_is_503_with_retry_after(visit, path):
    client = await visit(redis="redis://:secret@127.0.0.1:1/0", shards=("mongodb://someone:secret@127.0.0.1:1/",))
    began = time.monotonic()
    answer = await client.get(path, headers=RIGHT)
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert "secret" not in await answer.text()
    assert time.monotonic() - began < 5


async def test_nothing_is_promised_to_a_choice_while_the_registry_is_away(visit):
    client = await visit()
    answer = await client.put("/users/u-1/preferences/marketing/push", headers=RIGHT, data=b'{"opted_in": false}')
    assert answer.status == 503
    assert "Retry-After" in answer.headers


async def test_the_dashboard_says_that_mongodb_is_silent(visit):
    client = await visit()
    answer = await client.get("/")
    page = await answer.text()
    assert answer.status == 200
    assert "The ledger is not known" in page
    assert "without" in page  # Redis


async def test_health_metrics_and_providers_need_no_store(visit):
    client = await visit()
    assert (await client.get("/live")).status == 200
    assert (await client.get("/providers")).status == 200
    scraped = await client.get("/metrics")
    assert "notify_triggers" in await scraped.text()
    assert scraped.headers["Content-Type"].startswith("text/plain; version=")


async def test_a_worker_without_partitions_is_not_ready(visit):
    client = await visit()
    answer = await client.get("/ready")
    assert answer.status == 503
    assert (await answer.json())["waiting_for"]


async def test_a_failed_flush_loop_ends_the_liveness(visit, new_worker):
    worker = new_worker("standard")

    class Failed:
        failed = RuntimeError("about ann@example.org")

    worker.outbox = Failed()
    answer = await (await visit(worker)).get("/live")
    assert answer.status == 503
    said = await answer.text()
    assert "RuntimeError" in said
    assert "ann@" not in said


async def test_no_answer_may_be_kept_by_a_cache(visit):
    client = await visit()
    for path in ("/", "/live", "/metrics", "/ledger", "/users/u-1"):
        assert (await client.get(path)).headers["Cache-Control"] == "no-store", path


async def test_scripts_get_the_workers_summary_from_the_root(visit):
    client = await visit()
    summary = await (await client.get("/", headers={"Accept": "application/json"})).json()
    assert (summary["region"], summary["role"]) == ("us", "push")
    assert summary["redis_trusted"] is False


async def test_a_table_tells_the_home_while_the_registry_is_silent(new_worker):
    worker = new_worker("standard")
    worker.locate = {"ann": Location("eu", 0, 1, None)}.get
    people = UserLookup(worker)
    try:
        found = await people.find("ann")
        assert found is not None
        assert found.region == "eu"
        with pytest.raises(StoreUnavailable):
            await people.find("nobody")  # a table that lacks somebody is no proof
    finally:
        await people.close()
