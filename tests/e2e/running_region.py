"""Region us with a process for each role: what a test sends, and what it reads afterwards.

Records are written as any client writes them. Dead letters, database, provider log and audit are read from outside.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import Any

import aiohttp
import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from pymongo.asynchronous.database import AsyncDatabase
from rich.console import Console
from standardwebhooks.webhooks import Webhook

from devtools.demo.wait import RegionWatcher
from devtools.stack import Stack
from devtools.stack.credentials import PREFIX
from devtools.stack.kafka import Kafka
from devtools.subprocesses import python_module, stop
from devtools.supervisor import Supervisor
from devtools.workers import is_ready
from notify_streams import kafka
from notify_streams.admin.audit import audit
from notify_streams.admin.audit.provider_log import AcceptedMessage, read_provider_log
from notify_streams.admin.audit.topics import TopicReader
from notify_streams.admin.bootstrap import bootstrap_region
from notify_streams.app import web_port
from notify_streams.delivery.attempt_reader import AttemptReader
from notify_streams.kafka import KafkaConnection
from notify_streams.records.devices import Devices
from notify_streams.records.ids import trigger_of
from notify_streams.records.notification_event import NotificationEvent, read_event
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.user_records import Contacts, PreferenceUpdate, Signup
from notify_streams.roles import ROLES
from notify_streams.security import KafkaSecurity
from notify_streams.settings import Settings, load_settings
from notify_streams.stores.mongo import NOTIFICATIONS, Shards, mongo_client
from notify_streams.topics import DEAD_LETTERS, PREFERENCE_UPDATES, USER_CONTACTS, USER_SIGNUPS, event_topic
from tests.builders import trigger_json
from tests.e2e.processes import TIMEOUT_S, Done, environ_of, run_to_end, until

_numbers = count(1)
#: Settings of these workers: no test waits for ten minutes, or an hour until sums are sealed; tables are on disk, as a large region has them.
QUICK = {
    "NOTIFY_ERASURE_SETTLES_S": "3",
    "NOTIFY_TABLES__STORE": "disk",
    "NOTIFY_RETENTION__PERIOD_S": "2",
}


@dataclass(frozen=True, slots=True)
class RecordPosition:
    """Topic, partition and offset of a record."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter: the rejected record and the headers that say why."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]

    @property
    def diagnosis(self) -> dict[str, str]:
        """The five headers that the router added, which come last."""
        return {name: (content or b"").decode() for name, content in self.headers[-5:]}

    @property
    def client_headers(self) -> list[tuple[str, bytes | None]]:
        return list(self.headers[:-5])


def a_new_id(prefix: str = "t") -> str:
    """A new trigger id."""
    return f"{prefix}-{os.getpid()}-{next(_numbers)}"


class RunningRegion:
    """Region us with one worker for each role."""

    def __init__(
        self,
        stack: Stack,
        settings: Settings,
        supervisor: Supervisor,
        watch: RegionWatcher,
        environ: Mapping[str, str] = QUICK,
    ) -> None:
        """`environ`: the settings of its workers beside those of the stack."""
        self.stack = stack
        self._settings_environ = environ
        self.settings = settings
        self.supervisor = supervisor
        self._watch = watch
        self._producer: AIOKafkaProducer | None = None

    def producer(self, connection: KafkaConnection | None = None, **options: Any) -> AIOKafkaProducer:
        """A client's producer, not started, with these options only. By default that of the operator."""
        connection = connection or self.settings.kafka_connection()
        return AIOKafkaProducer(bootstrap_servers=connection.servers, **connection.security, **options)

    def security_of(self, principal: str) -> KafkaSecurity:
        """How ``system-payments``, for example, logs in to Kafka."""
        credentials = self.stack.region(self.settings.region).credentials
        return KafkaSecurity() if credentials is None else credentials.kafka_security(PREFIX + principal)

    def log_in_of(self, principal: str) -> dict[str, str]:
        """The variables with which a verb logs in to Kafka as ``restore``, for example; by default it is the operator."""
        credentials = self.stack.region(self.settings.region).credentials
        if credentials is None:
            return {}
        user = PREFIX + principal
        return {
            "NOTIFY_KAFKA_SECURITY__USERNAME": user,
            "NOTIFY_KAFKA_SECURITY__PASSWORD_FILE": str(credentials.file(user)),
        }

    def kafka_admin(self) -> AIOKafkaAdminClient:
        """A client, not started, that may change Kafka itself, which the operator may not."""
        return kafka.admin(self.super_user)

    @property
    def super_user(self) -> KafkaConnection:
        """Of the user who may do everything in Kafka."""
        broker = self.stack.region(self.settings.region).kafka
        assert isinstance(broker, Kafka)
        return broker.connection()

    async def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: str | bytes | None = None,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        timestamp_ms: int | None = None,
    ) -> RecordPosition:
        """Write one record to `partition`, or else to the bucket of `key`; to any topic. `timestamp_ms`: the sender's time, by default now."""
        if self._producer is None:
            options = {"enable_idempotence": True, "max_request_size": 2 * 1024 * 1024}
            self._producer = self.producer(self.super_user, **options)
            await self._producer.start()
        raw = key.encode() if isinstance(key, str) else key
        if partition is None:
            partition = self.bucket(key) if isinstance(key, str) else 0
        done = await self._producer.send_and_wait(topic, value, raw, partition, timestamp_ms, list(headers))
        return RecordPosition(topic, partition, done.offset)

    async def trigger(self, user_id: str = "ada", **but: Any) -> str:
        """Send one valid trigger to its bucket; returns its id."""
        trigger_id = but.setdefault("id", a_new_id())
        await self.send("triggers.payments", trigger_json(user_id=user_id, **but), key=user_id)
        return str(trigger_id)

    async def triggers(self, users: Sequence[str], number: int) -> list[str]:
        """Send `number` triggers for `users` in rotation, as fast as Kafka accepts them; returns their ids."""
        ids = [a_new_id("load") for _ in range(number)]
        records = [(trigger_id, users[place % len(users)]) for place, trigger_id in enumerate(ids)]
        for at in range(0, number, 200):
            await asyncio.gather(
                *(self.trigger(user_id, id=trigger_id) for trigger_id, user_id in records[at : at + 200])
            )
        return ids

    async def sign_up(
        self,
        user_id: str,
        *,
        home: str = "us",
        opted_out: Iterable[tuple[str, str]] = (),
        devices: Devices | None = None,
        **contacts: str | None,
    ) -> None:
        """Send contacts, choices and the sign-up, in the order of upstream systems. `devices` replace the push token."""
        now = datetime.now(UTC)
        usual = {"push": f"token-{user_id}", "sms": None, "email": f"{user_id}@example.org"}
        given = usual | contacts
        push = given["push"] if devices is None else None
        record = Contacts(user_id, now, push, given["sms"], given["email"], devices=devices)
        await self.send(USER_CONTACTS, msgspec.json.encode(record), key=user_id)
        for category, channel in opted_out:
            choice = PreferenceUpdate(user_id, category, channel, False, now)  # type: ignore[arg-type]
            await self.send(PREFERENCE_UPDATES, msgspec.json.encode(choice), key=user_id)
        await self.send(USER_SIGNUPS, msgspec.json.encode(Signup(user_id, home, now)), key=user_id)

    def bucket(self, user_id: str) -> int:
        return bucket_of(user_id, self.settings.partitions)

    async def drained(self) -> None:
        """Wait until no role has lag and the outbox is empty."""
        await self._watch.wait_until_drained("the region", TIMEOUT_S)

    async def lag(self) -> dict[str, int]:
        """By role; `us/timers` are the triggers and deliveries that wait."""
        return await self._watch.lag()

    async def ready_with(self, roles: Sequence[str], timeout_s: float) -> None:
        """Wait until the workers of these roles are ready."""
        await self._watch.wait_until_ready(timeout_s, roles)

    async def audit(self) -> dict[str, Any]:
        return await audit([self.settings], wait_s=0)

    async def audited(self) -> dict[str, Any]:
        """Wait until all is processed; the region's numbers of an audit without a difference."""
        await self.drained()
        report = await self.audit()
        assert report["holds"], [*report["differences"], *report["in_flight"]]
        return dict(report["regions"]["us"])

    async def assert_notified_once(self, *trigger_ids: str) -> dict[str, Any]:
        """Wait; each trigger was accepted once by push and once by email. Returns the numbers of the audit."""
        sums = await self.audited()
        log = self.provider_log()
        channels = {one: sorted(line.channel for line in log.get(one, ())) for one in trigger_ids}
        assert channels == {one: ["email", "push"] for one in trigger_ids}
        return sums

    def provider_log(self) -> dict[str, list[AcceptedMessage]]:
        """Accepted messages by trigger id."""
        found: dict[str, list[AcceptedMessage]] = {}
        for line in read_provider_log(str(self.settings.sandbox_record)):
            found.setdefault(trigger_of(line.notification_id), []).append(line)
        return found

    def channels(self, trigger_id: str) -> list[str]:
        """The channel of each accepted message of a trigger, sorted."""
        return sorted(line.channel for line in self.provider_log().get(trigger_id, ()))

    async def events(self, system: str, trigger_id: str) -> list[NotificationEvent]:
        """What the system can read about one of its triggers."""
        async with TopicReader(self.settings) as topics:
            found = [read_event(one.value or b"") async for _, one in topics.read([event_topic(system)])]
        return [one for one in found if one.trigger_id == trigger_id]

    async def dead_letters(self) -> dict[RecordPosition, DeadLetter]:
        """Every dead letter by the position of its source record."""
        found = {}
        async with TopicReader(self.settings) as topics:
            async for _, record in topics.read([DEAD_LETTERS]):
                letter = DeadLetter(record.key, record.value, record.headers)
                source = RecordPosition(
                    letter.diagnosis["topic"], int(letter.diagnosis["partition"]), int(letter.diagnosis["offset"])
                )
                assert source not in found, f"two dead letters for {source}"
                found[source] = letter
        return found

    async def values_of(self, topic: str, user_id: str) -> list[bytes]:
        """The values of a user's records on a topic."""
        async with TopicReader(self.settings) as topics:
            return [record.value or b"" async for _, record in topics.read([topic]) if record.key == user_id.encode()]

    @asynccontextmanager
    async def database(self, bucket: int) -> AsyncIterator[AsyncDatabase[dict[str, Any]]]:
        """The database that holds `bucket`."""
        uri = self.settings.shards[self.settings.shard_of(bucket)]
        async with mongo_client(uri, self.settings.mongo_security, "tests", TIMEOUT_S) as client:
            yield client[self.settings.database]

    async def deliveries(self, trigger_id: str, user_id: str = "ada") -> dict[str, str]:
        """The delivery states of a notification by channel; empty without a notification."""
        bucket = self.bucket(user_id)
        async with Shards(self.settings) as shards:
            await shards.refresh_directory()
            found = await shards.collection(NOTIFICATIONS, bucket).find_one(
                {"bucket": bucket, "trigger_id": trigger_id, "user_id": user_id}
            )
            if found is None:
                return {}
            await AttemptReader(shards, 10.0).add_status([found])
        return {channel: one["state"] for channel, one in found["deliveries"].items()}

    async def report(self, kind: str, **data: Any) -> int:
        """The status of a signed report to this region's role `webhooks`."""
        public = self.settings.public
        assert public.webhook_secrets is not None
        name, at, body = a_new_id("hook"), datetime.now(UTC), json.dumps({"type": kind, "data": data})
        signature = Webhook(public.webhook_secrets.reveal()).sign(name, at, body)
        headers = {"webhook-id": name, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}
        url = f"{public.urls[self.settings.region]}/webhooks/generic"
        async with aiohttp.ClientSession() as http, http.post(url, data=body, headers=headers) as response:
            return response.status

    async def view(self, role: str, path: str) -> tuple[int, dict[str, Any]]:
        """Status and body of a worker's view."""
        url = f"http://127.0.0.1:{web_port(self.settings, role)}{path}"
        settings = self.settings
        token = settings.web_edge_token if path.startswith("/locations/") else settings.web_read_token
        assert token is not None
        headers = {"Authorization": f"Bearer {token.reveal()}"}
        async with aiohttp.ClientSession() as http, http.get(url, headers=headers) as response:
            return response.status, await response.json()

    async def ready(self, role: str) -> bool:
        """Whether the role's worker is ready."""
        async with aiohttp.ClientSession() as http:
            return await is_ready(http, f"http://127.0.0.1:{web_port(self.settings, role)}/ready")

    @asynccontextmanager
    async def workers_with(self, environ: Mapping[str, str], *roles: str) -> AsyncIterator[None]:
        """The workers of `roles` run with these variables as well; when the block ends they run as before."""
        before = dict(self.supervisor.environ)
        self.supervisor.environ.update(environ)
        try:
            await self.restart(roles)
            yield
        finally:
            self.supervisor.environ = before
            await self.restart(roles)
            for role in roles:
                await until(partial(self.ready, role), f"{role} is back")

    async def restart(self, roles: Sequence[str]) -> None:
        """Stop the workers and wait until the supervisor has started others."""
        processes = self.supervisor.processes
        old = [(role, processes[role]) for role in roles]
        await asyncio.gather(*(stop(process, signal.SIGTERM, grace_s=60) for _, process in old))
        await until(lambda: all(processes[role] is not process for role, process in old), f"{roles} start again")

    def worker_log(self, role: str) -> list[dict[str, Any]]:
        """The lines of a role's log that are JSON objects."""
        lines = (self.stack.folder / "us" / "workers" / f"{role}.log").read_bytes().splitlines()
        return [msgspec.json.decode(line) for line in lines if line.startswith(b"{") and line.endswith(b"}")]

    async def cli(self, *arguments: str, stdin: bytes = b"", **environ: str) -> Done:
        """Run ``notify-streams`` to its end."""
        return await run_to_end(python_module("notify_streams.cli", *arguments), self.environ | environ, stdin)

    async def why(self, *arguments: str, **environ: str) -> Done:
        """Run ``notify-streams why`` with patience: the machine is busy."""
        return await self.cli("why", "--timeout", "30", *arguments, stdin=b"", **environ)

    @property
    def environ(self) -> dict[str, str]:
        return {**environ_of(self.stack), **self._settings_environ}

    async def close(self) -> None:
        if self._producer is not None:
            await self._producer.stop()


@asynccontextmanager
async def start_region(stack: Stack, more: Mapping[str, str] = QUICK) -> AsyncIterator[RunningRegion]:
    """Start the services and workers and sign users up; at the end every worker is stopped."""
    async with AsyncExitStack() as closing:
        await asyncio.to_thread(stack.up, ["us"])
        environ = {**environ_of(stack), **more}
        settings = load_settings("us", environ=environ, overlay=stack.settings_file("us"))
        await bootstrap_region(settings)
        supervisor = Supervisor(settings, ROLES, stack.folder / "us" / "workers", environ)
        closing.push_async_callback(supervisor.stop)
        await supervisor.start()
        watch = await closing.enter_async_context(RegionWatcher([settings], Console(quiet=True)))
        region = RunningRegion(stack, settings, supervisor, watch, more)
        closing.push_async_callback(region.close)
        await watch.wait_until_ready(2 * TIMEOUT_S)
        await sign_users_up(region)
        yield region


#: Signed up before the first test, with push and email contacts and no choices.
USERS = ("ada", *(f"user-{number}" for number in range(24)))


async def sign_users_up(region: RunningRegion) -> None:
    await asyncio.gather(*(region.sign_up(user_id) for user_id in USERS))
    await region.sign_up("ben", opted_out=[("payments", "push")])
    await region.sign_up("silent", push=None, email=None)
    await region.drained()
    await wait_until_known(region, *USERS, "ben", "silent")


async def wait_until_known(region: RunningRegion, *users: str) -> None:
    """Wait until the views show the users."""
    for user_id in users:

        async def is_known(user_id: str = user_id) -> bool:
            status, _ = await region.view("views", f"/users/{user_id}")
            return status == 200

        await until(is_known, f"the views know {user_id}")
