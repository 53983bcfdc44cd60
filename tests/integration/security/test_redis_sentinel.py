"""Redis Sentinel with passwords: real sentinel, master and replica; the master is killed while deltas are written and read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from bson import Timestamp

from devtools.stack.ports import free_port
from devtools.stack.valkey import Valkey
from notify_streams import tasks
from notify_streams.errors import RetryLater, StoreUnavailable
from notify_streams.preferences.deltas import Deltas
from notify_streams.preferences.lease_renewal import LeaseRenewal
from notify_streams.preferences.row_codec import decode_row, encode_row
from notify_streams.preferences.staleness_bound import staleness_bound_of
from notify_streams.secret import Secret
from notify_streams.security import RedisSecurity
from notify_streams.settings import PreferenceSettings, Settings
from notify_streams.stores.redis import connect, redis_call
from tests.integration.security.conftest import PASSWORD
from tests.waiting import until

pytestmark = pytest.mark.stack

SENTINEL_PASSWORD = "pass-sentinel"
USER = "ada"


class Server(Valkey):
    """A master, or with `follows` its replica."""

    follows: Valkey | None = None

    def command(self) -> Sequence[str]:
        log_in = ["--requirepass", PASSWORD, "--masterauth", PASSWORD]
        replica = ["--replicaof", f"127.0.0.1 {self.follows.port}"] if self.follows else []
        return [*super().command(), *log_in, *replica, "--repl-diskless-sync-delay", "0"]

    def info(self) -> dict[str, Any]:
        with redis.Redis(port=self.port, password=PASSWORD, socket_timeout=1) as client:
            return cast("dict[str, Any]", client.info("replication"))

    def lose_master(self) -> None:
        with redis.Redis(port=self.port, password=PASSWORD, socket_timeout=1) as client:
            client.config_set("masterauth", "pass-wrong")
            client.execute_command("CLIENT", "KILL", "TYPE", "master")

    def is_healthy(self) -> bool:
        try:
            return self.follows is None or self.info()["master_link_status"] == "up"
        except redis.RedisError:
            return False


class SentinelServer(Valkey):
    """Watches `master` alone: it decides by itself that the master is down."""

    master: Server

    def prepare(self) -> None:
        super().prepare()
        (self.folder / "sentinel.conf").write_text(
            f"bind 127.0.0.1\nport {self.port}\nrequirepass {SENTINEL_PASSWORD}\n"
            f"sentinel monitor main 127.0.0.1 {self.master.port} 1\nsentinel auth-pass main {PASSWORD}\n"
            "sentinel down-after-milliseconds main 300\nsentinel failover-timeout main 3000\n"
        )

    def command(self) -> Sequence[str]:
        program, *_ = super().command()
        return [program, "sentinel.conf", "--sentinel"]

    def is_healthy(self) -> bool:
        with (
            redis.Redis(port=self.port, password=SENTINEL_PASSWORD, socket_timeout=1) as client,
            suppress(redis.RedisError),
        ):
            return bool(cast("Any", client.sentinel_master("main"))["num-slaves"] == 1)
        return False


@dataclass
class Servers:
    master: Server
    replica: Server
    sentinel: SentinelServer

    def settings(self, **security: Any) -> Settings:
        """The first of the two sentinels is away."""
        given = {"password": Secret(PASSWORD), "sentinel_password": Secret(SENTINEL_PASSWORD)} | security
        return Settings(
            region="us",
            kafka="127.0.0.1:1",
            shards=(),
            redis=f"redis+sentinel://127.0.0.1:1,127.0.0.1:{self.sentinel.port}/main/0",
            redis_security=RedisSecurity(**given),
        )


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    first = free_port(count=3)
    master, replica = Server("master", tmp_path / "master", first), Server("replica", tmp_path / "replica", first + 1)
    sentinel = SentinelServer("sentinel", tmp_path / "sentinel", first + 2)
    replica.follows = sentinel.master = master
    try:
        for one in (master, replica, sentinel):
            one.start()
        yield Servers(master, replica, sentinel)
    finally:
        for one in (sentinel, replica, master):
            one.stop()


class Durable:
    """The preference record of one user, in the place of MongoDB."""

    shard_count = 1

    def __init__(self) -> None:
        #: Version → when it was durable.
        self.versions = {0: 0.0}

    def put(self) -> bytes:
        version = max(self.versions) + 1
        self.versions[version] = time.monotonic()
        return encode_row(version, {})

    async def changed_since(self, *_: object) -> tuple[Timestamp, Mapping[str, bytes]]:
        return Timestamp(int(time.time()), 1), {USER: encode_row(max(self.versions), {})}


async def test_a_stop_holds_while_the_master_fails_over(servers: Servers) -> None:
    bound = staleness_bound_of(PreferenceSettings())
    durable = Durable()
    client = connect(servers.settings())
    deltas = Deltas(client, bound.delta_ttl_s)
    renewal = LeaseRenewal(client, deltas, cast("Any", durable), bound)
    trusted: list[float] = []
    broken: list[str] = []

    async def write() -> None:
        while True:
            with suppress(StoreUnavailable):
                await deltas.write({USER: durable.put()})
            await asyncio.sleep(0.01)

    async def renew() -> None:
        while True:
            with suppress(RetryLater):
                await renewal.renew()
            await asyncio.sleep(0.05)

    async def check() -> None:
        while True:
            began = time.monotonic()
            found = await deltas.read([USER])
            if found is not None:
                trusted.append(began)
                seen = decode_row(found[0])[0] if found[0] else 0
                due = max(version for version, at in durable.versions.items() if at < began - bound.lease_s)
                if seen < due:
                    broken.append(f"saw {seen}, not {due}")
            await asyncio.sleep(0.01)

    running = [asyncio.create_task(one()) for one in (write, renew, check)]
    try:
        await until(lambda: len(trusted) > 20)
        servers.replica.lose_master()
        lost = max(durable.versions)
        await until(lambda: max(durable.versions) > lost + 20)  # the replica will not have these
        servers.master.kill()
        killed = time.monotonic()
        await until(lambda: servers.replica.info()["role"] == "master")
        await until(lambda: trusted[-1] > killed + bound.lease_s + 0.2, "the new master is trusted")
        after = len(trusted)
        await until(lambda: len(trusted) > after + 20)
        assert not broken
        assert [one for one in running if one.done()] == []
    finally:
        await tasks.stop(running)  # a wait of the driver can lose a cancellation
        await client.aclose()


@pytest.mark.parametrize("wrong", ["password", "sentinel_password"])
async def test_a_wrong_password_of_server_or_sentinel_is_said(servers: Servers, wrong: str) -> None:
    client = connect(servers.settings(**{wrong: Secret("pass-wrong")}))
    with (
        pytest.raises(
            StoreUnavailable, match=r"Redis at main of sentinel 127.0.0.1:[0-9]+ refuses the user name or pass"
        ),
        redis_call(client),
    ):
        await client.get("p:ada")
    await client.aclose()
