"""Faults of points of presence: bounded retries, nothing lost, no effect on others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from devtools.fakes.edge_server import FakeEdgeServer, Received
from notify_streams.edge.http_client import HttpClient
from notify_streams.edge.point_of_presence import NotPushed
from notify_streams.edge.pusher import EdgePusher, make_point_of_presence, open_session
from notify_streams.edge.single_key_stores import SingleKeyStore
from notify_streams.errors import SettingsError
from notify_streams.records.user_records import LocationRecord
from notify_streams.retry import RetryPolicy
from notify_streams.secret import Secret
from notify_streams.settings import EdgePopSettings
from tests.builders import ARecord
from tests.contract.edge.edge_reader import edge_record

QUICK = RetryPolicy("test", first_s=0.01, max_s=0.02, max_attempts=4)


@pytest.fixture(params=("http", "fastly", "cloudflare"))
async def push(request: pytest.FixtureRequest, edge_server: FakeEdgeServer) -> AsyncIterator[EdgePusher]:
    async with open_session() as session:
        pop = EdgePopSettings("paris", edge_server.url(request.param), request.param, Secret(edge_server.token))
        yield EdgePusher(make_point_of_presence(pop, session), "eu", QUICK)


@pytest.mark.parametrize("status", [429, 500, 503, 401, 404])
async def test_a_transient_fault_is_retried(push: EdgePusher, edge_server: FakeEdgeServer, status: int) -> None:
    edge_server.faults.statuses.extend([status] * 2)
    await push.push([edge_record("u-1", "eu")])
    assert edge_server.stored == {"u-1": '{"region":"eu","version":1}'}
    assert push.state.failures >= 1 and push.state.failing_since is None


async def test_a_lasting_fault_is_not_pushed_and_a_later_push_succeeds(
    push: EdgePusher, edge_server: FakeEdgeServer
) -> None:
    edge_server.faults.statuses.extend([503] * 400)
    records = [edge_record(f"u-{number}", "eu") for number in range(20)]
    with pytest.raises(NotPushed) as caught:
        await push.push(records)
    assert "u-1" not in str(caught.value)
    assert push.state.failing_since is not None
    assert edge_server.requests <= 20 * 4
    edge_server.faults.statuses.clear()
    await push.push(records)
    assert len(edge_server.stored) == 20


async def test_a_restarted_point_of_presence_gets_what_it_missed(push: EdgePusher, edge_server: FakeEdgeServer) -> None:
    await edge_server.stop()
    with pytest.raises(NotPushed):
        await push.push([edge_record("u-1", "eu")])
    await edge_server.start()
    await push.push([edge_record("u-1", "eu")])
    assert "u-1" in edge_server.stored


async def test_a_request_without_response_costs_bounded_time(edge_server: FakeEdgeServer) -> None:
    edge_server.faults.hanging = asyncio.Event()
    async with open_session() as session:
        calls = HttpClient(
            session, edge_server.url("http"), {"Authorization": f"Bearer {edge_server.token}"}, timeout_s=0.2
        )
        push = EdgePusher(SingleKeyStore("paris", calls, ""), "eu", RetryPolicy("test", 0.01, 0.02, max_attempts=3))
        began = time.monotonic()
        with pytest.raises(NotPushed):
            await push.push([edge_record(f"u-{number}", "eu") for number in range(30)])
        assert time.monotonic() - began < 3
    edge_server.faults.hanging.set()


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b'{"success":true,"result":{"unsuccessful_keys":["\xff"]}}',
        b'{"success":true,"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    ],
    ids=["a page", "no UTF-8", "nested too deep"],
)
async def test_a_response_that_no_api_gives_is_a_fault_and_the_push_is_repeated(
    edge_server: FakeEdgeServer, body: bytes
) -> None:
    edge_server.faults.bodies.append(body)
    async with open_session() as session:
        pop = EdgePopSettings("paris", edge_server.url("cloudflare"), "cloudflare", Secret(edge_server.token))
        push = EdgePusher(make_point_of_presence(pop, session), "eu", QUICK)
        await push.push([edge_record("u-1", "eu")])
        assert push.state.failures == 1
    assert "u-1" in edge_server.stored


async def test_of_a_long_response_only_so_much_is_read(edge_server: FakeEdgeServer) -> None:
    edge_server.faults.bodies.append(bytes(20 * 1024 * 1024))
    async with open_session() as session:
        headers = {"Authorization": f"Bearer {edge_server.token}"}
        response = await HttpClient(session, edge_server.url("http"), headers).request("PUT", "/u-1", b"{}")
    assert len(response.body) == 8 * 1024 * 1024


async def test_what_is_no_location_is_left_out_of_a_push(push: EdgePusher, edge_server: FakeEdgeServer) -> None:
    nested = b'{"user_id":"u-2","region":"eu","x":' + b"[" * 20_000 + b"]" * 20_000 + b"}"
    await push.push([ARecord(nested, b"u-2"), edge_record("u-1", "eu")])
    assert edge_server.stored.keys() == {"u-1"}


async def test_only_what_is_missing_is_pushed_again(push: EdgePusher, edge_server: FakeEdgeServer) -> None:
    edge_server.faults.statuses.append(500)
    await push.push([edge_record(f"u-{number}", "eu") for number in range(50)])
    assert len(edge_server.received) == 50


async def test_a_refused_key_is_isolated_counted_and_skipped(push: EdgePusher, edge_server: FakeEdgeServer) -> None:
    edge_server.faults.refused.add("u-7")
    await push.push([edge_record(f"u-{number}", "eu") for number in range(20)])
    assert push.state.refused == 1
    assert len(edge_server.stored) == 19


async def test_a_refused_key_keeps_no_other_from_being_deleted(push: EdgePusher, edge_server: FakeEdgeServer) -> None:
    await push.push([edge_record(f"u-{number}", "eu") for number in range(20)])
    edge_server.faults.refused.add("u-7")
    await push.push([edge_record(f"u-{number}", None) for number in range(20)])
    assert set(edge_server.stored) <= {"u-7"}


@pytest.mark.parametrize("region", ["eu", None], ids=["put", "delete"])
async def test_a_fault_while_a_refused_batch_is_halved_loses_nothing(
    push: EdgePusher, edge_server: FakeEdgeServer, region: str | None
) -> None:
    users = [f"u-{number}" for number in range(8)]
    await push.push([edge_record(user_id, "us") for user_id in users])
    edge_server.faults.statuses.extend([400, 503, 400, 503])
    await push.push([edge_record(user_id, region, 2) for user_id in users])
    found = [user_id for user_id in users if '"us"' in edge_server.stored.get(user_id, "")]
    # A store of one key a request answered 400 for two of them.
    assert len(found) <= (0 if edge_server.requests < len(users) else 2)


async def test_concurrent_requests_are_bounded(push: EdgePusher, edge_server: FakeEdgeServer) -> None:
    await push.push([edge_record(f"u-{number}", "eu") for number in range(200)])
    assert edge_server.max_concurrent <= 16


async def test_keys_that_a_bulk_write_did_not_store_are_written_again(edge_server: FakeEdgeServer) -> None:
    edge_server.faults.left_out |= {"u-1", "u-3"}
    async with open_session() as session:
        pop = EdgePopSettings("paris", edge_server.url("cloudflare"), "cloudflare", Secret(edge_server.token))
        push = EdgePusher(make_point_of_presence(pop, session), "eu", QUICK)
        await push.push([edge_record(f"u-{number}", "eu") for number in range(5)])
    assert len(edge_server.stored) == 5
    assert [one.key for one in edge_server.received[3:]] == ["u-1", "u-3"]


async def test_a_bulk_write_of_more_than_ten_thousand_is_split(edge_server: FakeEdgeServer) -> None:
    async with open_session() as session:
        pop = EdgePopSettings("paris", edge_server.url("cloudflare"), "cloudflare", Secret(edge_server.token))
        await make_point_of_presence(pop, session).put_many(
            [LocationRecord(f"u-{number}", "eu") for number in range(10_001)]
        )
    assert (len(edge_server.stored), edge_server.requests) == (10_001, 2)


async def test_a_purge_comes_before_the_new_home(push: EdgePusher, edge_server: FakeEdgeServer) -> None:
    await push.push([edge_record("u-1", "eu", 2, "us")])
    assert edge_server.received == [Received("delete", "u-1"), Received("put", "u-1", '{"region":"eu","version":2}')]


async def test_a_late_push_of_the_previous_home_brings_no_old_home_back(
    push: EdgePusher, edge_server: FakeEdgeServer
) -> None:
    """The new home has pushed already when the previous one can reach the point of presence again."""
    async with open_session() as session:
        pop = EdgePopSettings("paris", edge_server.url("http"), "http", Secret(edge_server.token))
        previous = EdgePusher(make_point_of_presence(pop, session), "us", QUICK)
        await push.push([edge_record("u-1", "eu", 2, "us")])
        await previous.push([edge_record("u-1", "us")])
        await previous.push([edge_record("u-1", "eu", 2, "us")])
    assert edge_server.stored == {}


async def test_an_unknown_kind_is_a_settings_error() -> None:
    async with open_session() as session:
        with pytest.raises(SettingsError, match="use one of http, cloudflare, fastly"):
            make_point_of_presence(EdgePopSettings("paris", "http://x", "akamai"), session)
