"""Entries as they come from the wire, and which of them say nothing any more."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from redis.exceptions import TimeoutError as RedisTimeout

from notify_streams.worker_registration import (
    KEPT_S,
    RegisteredWorker,
    WorkerEntry,
    WorkerRegistration,
    advertised_host,
    parsed,
    superseded,
)
from tests.builders import some_settings

ID = "0123456789abcdef"
DEAD_S = 15.0
GOOD: dict[str, Any] = {
    "id": ID,
    "role": "push",
    "host": "fd00::7",
    "port": 6066,
    "partitions": 8,
    "version": "0.1.0",
}


def a_value(**but: Any) -> bytes:
    return b"1700000005000 1700000000000 " + msgspec.json.encode(GOOD | but)


def test_an_entry_is_read_with_redis_times() -> None:
    found = parsed(ID.encode(), a_value())
    assert found == RegisteredWorker(msgspec.convert(GOOD, WorkerEntry), 1_700_000_000.0, 1_700_000_005.0)


BAD: dict[str, bytes] = {
    "empty": b"",
    "no times": msgspec.json.encode(GOOD),
    "not JSON": b"1 1 {",
    "not UTF-8": b'1 1 {"id":"\xff"}',
    "nested too deep": b'1 1 {"x":' + b"[" * 1000 + b"}",
    "a time that is no number": b"1e3 1 {}",
    "a time after the year 9999": b"999999999999999 1 " + msgspec.json.encode(GOOD),
    "a registration after the year 9999": b"1 999999999999999 " + msgspec.json.encode(GOOD),
    "too long": a_value(version="1" * 2000),
    "an unknown role": a_value(role="root"),
    "a host with a path": a_value(host="h/../"),
    "a host with an empty label": a_value(host="notify..svc"),
    "a host with a label that no socket takes": a_value(host="h" * 64),
    "a host with a line end": a_value(host="h\n"),
    "a port that is none": a_value(port=0),
    "another id": a_value(id="f" * 16),
    "a field of another type": a_value(partitions="8"),
    "more partitions than there can be": a_value(partitions=10**30),
}


@pytest.mark.parametrize("value", BAD.values(), ids=BAD)
def test_what_is_no_entry_is_left_out(value: bytes) -> None:
    assert parsed(ID.encode(), value) is None


def a_worker(name: str, registered: float, seen: float, port: int = 1, role: str = "push") -> RegisteredWorker:
    return RegisteredWorker(WorkerEntry(name, role, "h", port, 0, "1"), registered, seen)


def gone_of(*workers: RegisteredWorker, now: float = 1000.0) -> list[str]:
    return superseded(workers, now, DEAD_S)


def test_a_killed_worker_is_replaced_by_one_that_came_later() -> None:
    killed = a_worker("old", 100.0, 900.0)
    assert gone_of(killed) == []
    assert gone_of(killed, a_worker("before", 100.0, 999.0, port=2)) == [], "it was there all the time"
    assert gone_of(killed, a_worker("other role", 950.0, 999.0, port=2, role="sms")) == []
    assert gone_of(killed, a_worker("new", 950.0, 999.0, port=2)) == ["old"]


def test_each_new_worker_replaces_one() -> None:
    killed = [a_worker("a", 100.0, 900.0), a_worker("b", 100.0, 905.0, port=2)]
    assert gone_of(*killed, a_worker("new", 950.0, 999.0, port=3)) == ["a"]
    assert gone_of(*killed, a_worker("new", 950.0, 999.0, port=2)) == ["b"], "it has come to its address"
    both = (a_worker("c", 950.0, 999.0, port=3), a_worker("d", 960.0, 999.0, port=4))
    assert sorted(gone_of(*killed, *both)) == ["a", "b"]


def test_an_entry_is_kept_for_an_hour() -> None:
    assert gone_of(a_worker("a", 0.0, 1.0), now=1.0 + KEPT_S) == []
    assert gone_of(a_worker("a", 0.0, 1.0), now=2.0 + KEPT_S) == ["a"]


@pytest.mark.parametrize(
    ("settings", "host"),
    [
        ({"web_host": "127.0.0.5"}, "127.0.0.5"),
        ({"web_host": "[::1]"}, "::1"),
        ({"web_host": "worker-3"}, "worker-3"),
        ({"web_host": "0.0.0.0"}, "127.0.0.1"),
        ({"web_host": "::"}, "127.0.0.1"),
        ({"web_host": "0.0.0.0", "web_advertised_host": "10.0.0.7"}, "10.0.0.7"),
    ],
)
def test_a_worker_advertises_where_it_listens_or_how_it_reaches_redis(settings: dict[str, str], host: str) -> None:
    assert advertised_host(some_settings(redis="redis://127.0.0.1:6379/0", **settings)) == host


class SlowRedis:
    """Does what was sent even if the caller was cancelled meanwhile; writes once `may_write` is set."""

    def __init__(self, failures: int = 0) -> None:
        self.entries: dict[str, bytes] = {}
        self.failures = failures
        self.connection_pool = SimpleNamespace(connection_kwargs={"host": "redis", "port": 1})
        self.sent, self.may_write = asyncio.Event(), asyncio.Event()
        self.writes: list[asyncio.Task[None]] = []

    async def eval(self, _script: str, _keys: int, _key: str, worker: str, entry: bytes, *_: object) -> bytes:
        self.writes.append(asyncio.create_task(self._write(worker, entry)))
        self.sent.set()
        await asyncio.shield(self.writes[-1])
        return b"1"

    async def _write(self, worker: str, entry: bytes) -> None:
        await self.may_write.wait()
        self.entries[worker] = entry

    async def hdel(self, _key: str, *workers: str) -> None:
        if self.failures:
            self.failures -= 1
            raise RedisTimeout("no answer")
        for worker in workers:
            self.entries.pop(worker, None)

    async def aclose(self) -> None:
        pass


def registration_in(redis: SlowRedis) -> WorkerRegistration:
    return WorkerRegistration(cast("Any", redis), "us", lambda worker: WorkerEntry(worker, "push", "a", 1, 0, "1"))


async def test_a_worker_that_stops_during_a_sign_of_life_leaves_no_entry() -> None:
    redis = SlowRedis()
    registration = registration_in(redis)
    await registration.start()
    await redis.sent.wait()
    stopping = asyncio.create_task(registration.stop())
    await asyncio.wait([stopping], timeout=0.01)
    redis.may_write.set()
    await asyncio.gather(stopping, *redis.writes)
    assert redis.entries == {}


async def test_a_redis_that_does_not_answer_holds_up_no_stop() -> None:
    redis = SlowRedis()
    registration = registration_in(redis)
    await registration.start()
    await redis.sent.wait()
    async with asyncio.timeout(30):
        await registration.stop()
    assert [one for one in asyncio.all_tasks() if one.get_name() == "worker registration"] == []
    redis.may_write.set()
    await asyncio.gather(*redis.writes)


async def test_a_removal_that_fails_is_tried_again() -> None:
    redis = SlowRedis(failures=1)
    redis.may_write.set()
    registration = registration_in(redis)
    await registration.beat()
    assert redis.entries
    await registration.stop()
    assert redis.entries == {}
