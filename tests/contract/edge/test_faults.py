"""Points of presence that are slow, away or wrong: pushed again within bounds, nothing lost, nobody else held up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from devtools.fakes.edge_server import FakeEdgeServer, Received
from notify_streams.edge.http_client import HttpClient
from notify_streams.edge.point_of_presence import Home, NotPushed
from notify_streams.edge.pusher import EdgePusher, open_session, point_of_presence
from notify_streams.edge.single_key_stores import SingleKeyStore
from notify_streams.errors import SettingsError
from notify_streams.retry import RetryPolicy
from notify_streams.settings import EdgePopSettings
from tests.contract.edge.edge_reader import Record

QUICK = RetryPolicy("test", first_s=0.01, max_s=0.02, max_attempts=4)


@pytest.fixture(params=("http", "fastly", "cloudflare"))
async def push(request: pytest.FixtureRequest, standin: FakeEdgeServer) -> AsyncIterator[EdgePusher]:
    async with open_session() as session:
        pop = EdgePopSettings("paris", standin.url(request.param), request.param, standin.token)
        yield EdgePusher(point_of_presence(pop, session), QUICK)


@pytest.mark.parametrize("status", [429, 500, 503, 401, 404])
async def test_a_passing_fault_is_waited_out(push: EdgePusher, standin: FakeEdgeServer, status: int) -> None:
    standin.faults.statuses.extend([status] * 2)
    await push.push([Record("u-1", "eu")])
    assert standin.stored == {"u-1": '{"region":"eu","version":1}'}
    assert push.state.failures >= 1 and push.state.failing_since is None


async def test_a_lasting_fault_ends_in_not_pushed_and_a_later_push_brings_it(
    push: EdgePusher, standin: FakeEdgeServer
) -> None:
    standin.faults.statuses.extend([503] * 400)
    records = [Record(f"u-{number}", "eu") for number in range(20)]
    with pytest.raises(NotPushed) as caught:
        await push.push(records)
    assert "u-1" not in str(caught.value)
    assert push.state.failing_since is not None
    assert standin.requests <= 20 * 4
    standin.faults.statuses.clear()
    await push.push(records)
    assert len(standin.stored) == 20


async def test_a_restarted_point_of_presence_gets_what_it_missed(push: EdgePusher, standin: FakeEdgeServer) -> None:
    await standin.stop()
    with pytest.raises(NotPushed):
        await push.push([Record("u-1", "eu")])
    await standin.start()
    await push.push([Record("u-1", "eu")])
    assert "u-1" in standin.stored


async def test_one_that_hangs_costs_a_bounded_time(standin: FakeEdgeServer) -> None:
    standin.faults.hanging = asyncio.Event()
    async with open_session() as session:
        calls = HttpClient(session, standin.url("http"), {"Authorization": f"Bearer {standin.token}"}, timeout_s=0.2)
        push = EdgePusher(SingleKeyStore("paris", calls, ""), RetryPolicy("test", 0.01, 0.02, max_attempts=3))
        began = time.monotonic()
        with pytest.raises(NotPushed):
            await push.push([Record(f"u-{number}", "eu") for number in range(30)])
        assert time.monotonic() - began < 3
    standin.faults.hanging.set()


async def test_only_what_is_missing_is_pushed_again(push: EdgePusher, standin: FakeEdgeServer) -> None:
    standin.faults.statuses.append(500)
    await push.push([Record(f"u-{number}", "eu") for number in range(50)])
    assert len(standin.received) == 50


async def test_a_refused_key_is_found_counted_and_given_up_alone(push: EdgePusher, standin: FakeEdgeServer) -> None:
    standin.faults.refused.add("u-7")
    await push.push([Record(f"u-{number}", "eu") for number in range(20)])
    assert push.state.refused == 1
    assert len(standin.stored) == 19


async def test_calls_at_once_are_bounded(push: EdgePusher, standin: FakeEdgeServer) -> None:
    await push.push([Record(f"u-{number}", "eu") for number in range(200)])
    assert standin.most_at_once <= 16


async def test_keys_that_a_bulk_write_leaves_out_are_written_again(standin: FakeEdgeServer) -> None:
    standin.faults.left_out |= {"u-1", "u-3"}
    async with open_session() as session:
        pop = EdgePopSettings("paris", standin.url("cloudflare"), "cloudflare", standin.token)
        push = EdgePusher(point_of_presence(pop, session), QUICK)
        await push.push([Record(f"u-{number}", "eu") for number in range(5)])
    assert len(standin.stored) == 5
    assert [one.key for one in standin.received[3:]] == ["u-1", "u-3"]


async def test_a_bulk_write_of_more_than_ten_thousand_is_split(standin: FakeEdgeServer) -> None:
    async with open_session() as session:
        pop = EdgePopSettings("paris", standin.url("cloudflare"), "cloudflare", standin.token)
        await point_of_presence(pop, session).put_many([Home(f"u-{number}", "eu") for number in range(10_001)])
    assert (len(standin.stored), standin.requests) == (10_001, 2)


async def test_a_purge_comes_before_the_new_home(push: EdgePusher, standin: FakeEdgeServer) -> None:
    await push.push([Record("u-1", "eu", 2, "us")])
    assert standin.received == [Received("delete", "u-1"), Received("put", "u-1", '{"region":"eu","version":2}')]


async def test_an_unknown_kind_is_a_settings_error() -> None:
    async with open_session() as session:
        with pytest.raises(SettingsError, match="none of http, cloudflare, fastly"):
            point_of_presence(EdgePopSettings("paris", "http://x", "akamai"), session)
