"""A region whose every role runs as a process of its own: what a test may send, and where it can look afterwards.

Comes in: a private stack. Goes out: records as any client writes them; the dead letters, the database, the providers'
record and the audit, read from outside.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

import aiohttp
import msgspec
from aiokafka import AIOKafkaProducer
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from rich.console import Console

from devtools.demo.wait import RegionWatcher
from devtools.stack import Stack
from devtools.stack.ports import free_port
from devtools.supervisor import Supervisor
from notify_streams.admin.audit import audit
from notify_streams.admin.audit.provider_log import AcceptedMessage, read_provider_log
from notify_streams.admin.audit.topics import TopicReader
from notify_streams.admin.bootstrap import bootstrap_region
from notify_streams.app import web_port
from notify_streams.records.ids import notification_id, trigger_of
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.user_records import Contacts, PreferenceUpdate, Signup
from notify_streams.roles import LANES, ROLES
from notify_streams.settings import Settings, load_settings
from notify_streams.topics import DEAD_LETTERS, PREFERENCE_UPDATES, USER_CONTACTS, USER_SIGNUPS
from tests.builders import trigger_json
from tests.e2e.processes import PATIENCE_S, Done, ended, environ_of, until

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Place:
    """Where Kafka put a record."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter: what came, and why it went no further."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]

    @property
    def why(self) -> dict[str, str]:
        """Our own five headers, which come last."""
        return {name: (content or b"").decode() for name, content in self.headers[-5:]}

    @property
    def senders_headers(self) -> list[tuple[str, bytes | None]]:
        return list(self.headers[:-5])


def a_new_id(prefix: str = "t") -> str:
    """A trigger id that no other test has."""
    return f"{prefix}-{os.getpid()}-{next(_numbers)}"


class RegionAtWork:
    """Region us with eleven workers."""

    def __init__(self, stack: Stack, settings: Settings, supervisor: Supervisor, watch: RegionWatcher) -> None:
        self.stack = stack
        self.settings = settings
        self.supervisor = supervisor
        self._watch = watch
        self._producer: AIOKafkaProducer | None = None

    # -- What goes in

    async def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: str | bytes | None = None,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
    ) -> Place:
        """Write one record: into its key's bucket, or the partition that is given."""
        if self._producer is None:
            self._producer = AIOKafkaProducer(
                bootstrap_servers=self.settings.kafka, enable_idempotence=True, max_request_size=2 * 1024 * 1024
            )
            await self._producer.start()
        raw = key.encode() if isinstance(key, str) else key
        if partition is None:
            partition = self.bucket(key) if isinstance(key, str) else 0
        done = await self._producer.send_and_wait(topic, value, raw, partition, headers=list(headers))
        return Place(topic, partition, done.offset)

    async def trigger(self, user_id: str = "ada", **but: Any) -> str:
        """Send one trigger as it should be sent; returns its id."""
        identity = but.setdefault("id", a_new_id())
        await self.send("triggers.payments", trigger_json(user_id=user_id, **but), key=user_id)
        return str(identity)

    async def triggers(self, users: Sequence[str], number: int) -> list[str]:
        """Send `number` triggers to these people in turn, as fast as Kafka takes them; returns their ids."""
        ids = [a_new_id("load") for _ in range(number)]
        records = [(identity, users[place % len(users)]) for place, identity in enumerate(ids)]
        for at in range(0, number, 200):
            await asyncio.gather(*(self.trigger(user_id, id=identity) for identity, user_id in records[at : at + 200]))
        return ids

    async def sign_up(self, user_id: str, *, opted_out: Iterable[tuple[str, str]] = (), **contacts: str | None) -> None:
        """Contacts, choices and the sign-up, in the order that upstream systems push them."""
        now = datetime.now(UTC)
        usual = {"push": f"token-{user_id}", "sms": None, "email": f"{user_id}@example.org"}
        reached = Contacts(user_id, now, **(usual | contacts))
        await self.send(USER_CONTACTS, msgspec.json.encode(reached), key=user_id)
        for category, channel in opted_out:
            choice = PreferenceUpdate(user_id, category, channel, False, now)  # type: ignore[arg-type]
            await self.send(PREFERENCE_UPDATES, msgspec.json.encode(choice), key=user_id)
        await self.send(USER_SIGNUPS, msgspec.json.encode(Signup(user_id, "us", now)), key=user_id)

    def bucket(self, user_id: str) -> int:
        return bucket_of(user_id, self.settings.partitions)

    # -- What came out

    async def drained(self) -> None:
        """Wait until nothing is behind and nothing waits."""
        await self._watch.wait_until_drained("the region", PATIENCE_S)

    async def audit(self) -> dict[str, Any]:
        return await audit([self.settings])

    async def closed(self) -> dict[str, Any]:
        """Wait until all is done; the region's sums, after an audit without a difference."""
        await self.drained()
        report = await self.audit()
        assert report["holds"], [*report["differences"], *report["in_flight"]]
        return dict(report["regions"]["us"])

    def record(self) -> dict[str, list[AcceptedMessage]]:
        """What the providers accepted, by trigger id."""
        found: dict[str, list[AcceptedMessage]] = {}
        for line in read_provider_log(str(self.settings.sandbox_record)):
            found.setdefault(trigger_of(line.notification_id), []).append(line)
        return found

    def channels(self, trigger_id: str) -> list[str]:
        """The channels on which a trigger was accepted, once for each time."""
        return sorted(line.channel for line in self.record().get(trigger_id, ()))

    async def dead_letters(self) -> dict[Place, Letter]:
        """Every dead letter, by where its record came from."""
        found = {}
        async with TopicReader(self.settings) as topics:
            async for _, record in topics.read([DEAD_LETTERS]):
                letter = Letter(record.key, record.value, record.headers)
                source = Place(letter.why["topic"], int(letter.why["partition"]), int(letter.why["offset"]))
                assert source not in found, f"{source} is dead twice"
                found[source] = letter
        return found

    async def values_of(self, topic: str, user_id: str) -> list[bytes]:
        """What a topic holds for a person."""
        async with TopicReader(self.settings) as topics:
            return [record.value or b"" async for _, record in topics.read([topic]) if record.key == user_id.encode()]

    @asynccontextmanager
    async def database(self, bucket: int) -> AsyncIterator[AsyncDatabase[dict[str, Any]]]:
        """The database that holds a bucket, for those who look into it, or damage it."""
        uri = self.settings.shards[self.settings.shard_of(bucket)]
        async with AsyncMongoClient[dict[str, Any]](uri) as client:
            yield client[self.settings.database]

    async def deliveries(self, trigger_id: str, user_id: str = "ada") -> dict[str, str]:
        """State by channel of a notification; empty if there is none."""
        bucket = self.bucket(user_id)
        async with self.database(bucket) as database:
            found = await database.notifications.find_one(
                {"bucket": bucket, "_id": notification_id(trigger_id, user_id)}
            )
        return {} if found is None else {channel: one["state"] for channel, one in found["deliveries"].items()}

    async def view(self, role: str, path: str) -> tuple[int, dict[str, Any]]:
        """A worker's answer to an operator."""
        url = f"http://127.0.0.1:{web_port(self.settings, role)}{path}"
        headers = {"Authorization": f"Bearer {self.settings.web_token}"}
        async with aiohttp.ClientSession() as http, http.get(url, headers=headers) as answer:
            return answer.status, await answer.json()

    async def ready(self, role: str) -> bool:
        """Whether the role's worker is there and works."""
        try:
            status, _ = await self.view(role, "/ready")
        except (aiohttp.ClientError, TimeoutError):
            return False
        return status == 200

    # -- Programs

    @staticmethod
    def free_port() -> int:
        """For the views of one more worker."""
        return free_port()

    async def cli(self, *arguments: str, stdin: bytes = b"", **environ: str) -> Done:
        """Run ``notify-streams`` to its end."""
        return await ended([sys.executable, "-m", "notify_streams.cli", *arguments], self.environ | environ, stdin)

    @property
    def environ(self) -> dict[str, str]:
        return environ_of(self.stack)

    async def close(self) -> None:
        if self._producer is not None:
            await self._producer.stop()


@asynccontextmanager
async def at_work(stack: Stack) -> AsyncIterator[RegionAtWork]:
    """Everything up and ready, some people signed up; whatever happens, every worker is ended."""
    async with AsyncExitStack() as closing:
        await asyncio.to_thread(stack.up, ["us"])
        environ = environ_of(stack)
        settings = load_settings("us", environ=environ, overlay=stack.settings_file("us"))
        await bootstrap_region(settings)
        supervisor = Supervisor(settings, ROLES, stack.folder / "us" / "workers", environ)
        closing.push_async_callback(supervisor.stop)
        await supervisor.start()
        watch = await closing.enter_async_context(RegionWatcher([settings], Console(quiet=True)))
        region = RegionAtWork(stack, settings, supervisor, watch)
        closing.push_async_callback(region.close)
        await watch.wait_until_ready(2 * PATIENCE_S)
        await sign_people_up(region)
        yield region


#: Signed up before the first test. Ada and the others of the crowd can be reached by push and mail and refuse nothing.
CROWD = ("ada", *(f"crowd-{number}" for number in range(24)))


async def sign_people_up(region: RegionAtWork) -> None:
    await asyncio.gather(*(region.sign_up(user_id) for user_id in CROWD))
    await region.sign_up("ben", opted_out=[("payments", "push")])
    await region.sign_up("silent", push=None, email=None)
    await region.drained()
    await known(region, *CROWD, "ben", "silent")


async def known(region: RegionAtWork, *users: str) -> None:
    """Wait until both routers know where these people are at home: sign-ups reach them by way of a topic."""
    for user_id in users:
        for lane in LANES:

            async def is_known(lane: str = lane, user_id: str = user_id) -> bool:
                status, _ = await region.view(lane, f"/users/{user_id}")
                return status == 200

            await until(is_known, f"{lane} knows {user_id}")
