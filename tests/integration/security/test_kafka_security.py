"""A broker that wants TLS with SASL, or a client's certificate, and rights for each topic and group."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import faust
import pytest
import yaml
from aiohttp import BasicAuth, web
from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaConnectionError, KafkaError

from devtools.stack.kafka import Kafka
from devtools.stack.paths import PROJECT
from devtools.stack.ports import free_port
from notify_streams import kafka, refusals
from notify_streams.admin.services import require_access
from notify_streams.admin.topics import check_topics
from notify_streams.cli.output import run
from notify_streams.errors import StoreUnavailable
from notify_streams.secret import Secret
from notify_streams.security import KafkaSecurity, OAuthSettings, TlsSettings
from notify_streams.security_files import follow_security
from notify_streams.settings import Settings
from notify_streams.transport import (
    BatchNotSent,
    TransportSettings,
    attach,
    batched_topic,
    faust_credentials,
    producer_of,
)
from tests.integration.security.acls import allow, forbid, set_password
from tests.integration.security.certificates import Certificates
from tests.integration.security.conftest import PASSWORD
from tests.waiting import until

pytestmark = pytest.mark.stack

Says = Callable[[object, str], bool]
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    names = ("plain", "controller", "sasl", "mutual", "expired", "elsewhere", "ending")
    first = free_port(count=len(names))
    return {name: first + at for at, name in enumerate(names)}


@pytest.fixture(scope="module")
def broker(
    tmp_path_factory: pytest.TempPathFactory, certificates: Certificates, ports: dict[str, int]
) -> Iterator[Kafka]:
    modules = "org.apache.kafka.common.security"
    open_to = {
        "sasl": "SASL_SSL",
        "mutual": "SSL",
        "expired": "SASL_SSL",
        "elsewhere": "SASL_SSL",
        "ending": "SASL_SSL",
    }
    properties = {
        "listeners": f"PLAINTEXT://127.0.0.1:{ports['plain']},CONTROLLER://127.0.0.1:{ports['controller']},"
        + ",".join(f"{name.upper()}://127.0.0.1:{ports[name]}" for name in open_to),
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{ports['plain']},"
        + ",".join(f"{name.upper()}://localhost:{ports[name]}" for name in open_to),
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,"
        + ",".join(f"{name.upper()}:{protocol}" for name, protocol in open_to.items()),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": certificates.server,
        "listener.name.expired.ssl.keystore.location": certificates.expired,
        "listener.name.elsewhere.ssl.keystore.location": certificates.elsewhere,
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": certificates.ca,
        "listener.name.mutual.ssl.client.auth": "required",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:app;User:rotated;User:CN=app,O=notify",
        # aiokafka does not log in again: the broker ends its connections after this time.
        "listener.name.ending.scram-sha-512.connections.max.reauth.ms": "4000",
    }
    for name, protocol in open_to.items():
        if protocol == "SASL_SSL":
            sasl = f"listener.name.{name}."
            properties |= {
                f"{sasl}sasl.enabled.mechanisms": ",".join((*MECHANISMS, "OAUTHBEARER")),
                f"{sasl}plain.sasl.jaas.config": f"{modules}.plain.PlainLoginModule required "
                f'user_app="{PASSWORD}" user_limited="{PASSWORD}";',
                f"{sasl}scram-sha-256.sasl.jaas.config": f"{modules}.scram.ScramLoginModule required;",
                f"{sasl}scram-sha-512.sasl.jaas.config": f"{modules}.scram.ScramLoginModule required;",
                # Without a validator the broker takes unsigned tokens, and checks their subject and times.
                f"{sasl}oauthbearer.sasl.jaas.config": f"{modules}.oauthbearer.OAuthBearerLoginModule required;",
            }
    users = [f"--add-scram={mechanism}=[name=app,password={PASSWORD}]" for mechanism in MECHANISMS[1:]]
    folder = tmp_path_factory.mktemp("secure") / "broker"
    made = Kafka("broker", folder, ports["plain"], ports["controller"], properties, format_options=users)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def servers(broker: Kafka, ports: dict[str, int]) -> Callable[[str], str]:
    return lambda listener: f"localhost:{ports[listener]}"


def sasl(tls: TlsSettings, mechanism: str, password: str = PASSWORD, user: str = "app") -> KafkaSecurity:
    return KafkaSecurity("SASL_SSL", mechanism, user, Secret(password), tls=tls)  # type: ignore[arg-type]


def a_token(life_s: float) -> str:
    parts = {"alg": "none"}, {"sub": "app", "iat": int(time.time()) - 10, "exp": int(time.time() + life_s)}
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


class TokenEndpoint:
    """Knows the client `app` with `PASSWORD`."""

    def __init__(self) -> None:
        self.life_s = 3600.0
        #: What the answer says about it, if it is not the truth.
        self.stated_s: float | None = None
        self.asked = 0
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        form = await request.post()
        client = BasicAuth.decode(request.headers["Authorization"])
        if client.password != "pass%2Fw%3Ard" or form["grant_type"] != "client_credentials":
            return web.json_response({"error": "invalid_client"}, status=401)
        return web.json_response({"access_token": a_token(self.life_s), "expires_in": self.stated_s or self.life_s})

    def security(self, tls: TlsSettings, password: str = PASSWORD, url: str | None = None) -> KafkaSecurity:
        oauth = OAuthSettings(url or self.url, "app", Secret(password), ca_file=tls.ca_file)
        return KafkaSecurity("SASL_SSL", "OAUTHBEARER", oauth=oauth, tls=tls)


@pytest.fixture
async def endpoint(certificates: Certificates) -> AsyncIterator[TokenEndpoint]:
    made = TokenEndpoint()
    app = web.Application()
    app.router.add_post("/token", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=certificates.server_context()).start()
    made.url = f"https://localhost:{runner.addresses[0][1]}/token"
    yield made
    await runner.cleanup()


async def round_trip(servers: str, security: KafkaSecurity, topic: str) -> bytes | None:
    """Create a topic, write a record, read it: with each kind of client."""
    connection = kafka.connection_to(servers, security)
    admin, producer, consumer = kafka.admin(connection), kafka.producer(connection), kafka.consumer(connection)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    await producer.start()
    await producer.send_and_wait(topic, b"kept")
    await producer.stop()
    consumer.subscribe([topic])
    await consumer.start()
    record = await consumer.getone()
    await consumer.stop()
    value: bytes | None = record.value
    return value


@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_a_password_opens_the_broker(servers: Callable[[str], str], tls: TlsSettings, mechanism: str) -> None:
    assert await round_trip(servers("sasl"), sasl(tls, mechanism), f"by-{mechanism}") == b"kept"


async def test_a_client_certificate_opens_the_broker(servers: Callable[[str], str], certificates: Certificates) -> None:
    security = KafkaSecurity("SSL", tls=TlsSettings(certificates.ca, certificates.client))
    assert await round_trip(servers("mutual"), security, "by-certificate") == b"kept"


async def test_one_access_token_opens_the_broker_for_all_clients_until_it_is_old(
    servers: Callable[[str], str], tls: TlsSettings, endpoint: TokenEndpoint
) -> None:
    assert await round_trip(servers("sasl"), endpoint.security(tls), "by-token") == b"kept"
    assert endpoint.asked == 1
    endpoint.stated_s = 1.0
    connection = kafka.connection_to(servers("sasl"), endpoint.security(tls, url=f"{endpoint.url}?short"))
    await kafka.check_connection(connection)

    async def is_renewed() -> bool:
        await kafka.check_connection(connection)
        return endpoint.asked > 2

    await until(is_renewed)


def a_faust_app(
    connection: kafka.KafkaConnection, folder: Path, transport: TransportSettings | None = None
) -> faust.App:
    app = faust.App(
        "secured",
        broker=f"batched://{connection.servers}",
        broker_credentials=faust_credentials(connection),
        datadir=str(folder),
        web_enabled=False,
        topic_disable_leader=True,
    )
    attach(app, transport or TransportSettings(), connection)
    return app


async def test_a_faust_app_logs_in_with_all_its_clients(
    servers: Callable[[str], str], tls: TlsSettings, tmp_path: Path
) -> None:
    await round_trip(servers("sasl"), sasl(tls, "SCRAM-SHA-512"), "for-faust")
    app = a_faust_app(kafka.connection_to(servers("sasl"), sasl(tls, "SCRAM-SHA-512")), tmp_path)
    seen: list[bytes | None] = []

    @app.agent(batched_topic(app, "for-faust", partitions=1))
    async def read(batches: faust.StreamT[object]) -> None:
        async for event in batches.events():
            seen.extend(record.value for record in event.value.records)
            event.ack()

    app.finalize()
    await app.start()
    try:
        await until(lambda: seen == [b"kept"])
    finally:
        await app.stop()


async def test_a_faust_app_with_a_wrong_password_says_so(
    servers: Callable[[str], str], tls: TlsSettings, says: Says, tmp_path: Path
) -> None:
    app = a_faust_app(kafka.connection_to(servers("sasl"), sasl(tls, "SCRAM-SHA-512", "pass-wrong")), tmp_path)
    app.finalize()
    with pytest.raises(KafkaConnectionError) as error:
        await app.start()
    await app.stop()
    assert says(error.value, "refuses the user name or password (SCRAM-SHA-512)")


REFUSED: dict[str, tuple[str, Callable[[TlsSettings, Certificates], KafkaSecurity], str]] = {
    "password": (
        "sasl",
        lambda tls, _: sasl(tls, "PLAIN", "pass-wrong"),
        "refuses the user name or password (PLAIN): check kafka_security.username",
    ),
    "SCRAM password": (
        "sasl",
        lambda tls, _: sasl(tls, "SCRAM-SHA-256", "pass-wrong"),
        "refuses the user name or password (SCRAM-SHA-256)",
    ),
    "CA": (
        "sasl",
        lambda _, files: sasl(TlsSettings(files.other_ca), "PLAIN"),
        "set kafka_security.tls.ca_file to the authority that signed it",
    ),
    "expired": ("expired", lambda tls, _: sasl(tls, "PLAIN"), "certificate has expired: renew it at the server"),
    "other host": (
        "elsewhere",
        lambda tls, _: sasl(tls, "PLAIN"),
        "not valid for 'localhost': connect to a name that is in it",
    ),
    "no client certificate": ("mutual", lambda tls, _: KafkaSecurity("SSL", tls=tls), "client's certificate"),
    "no TLS": ("sasl", lambda _, __: KafkaSecurity(), "check the security protocol"),
}
#: What Kafka's answer does not say, so that it could be an outage.
GUESSED = ("no client certificate", "no TLS")


def settings_of(address: str, security: KafkaSecurity) -> Settings:
    return Settings(region="us", kafka=address, shards=(), redis="redis://127.0.0.1:1/0", kafka_security=security)


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_refused_is_said_in_one_sentence(
    servers: Callable[[str], str], tls: TlsSettings, certificates: Certificates, says: Says, case: str
) -> None:
    listener, security, words = REFUSED[case]
    settings = settings_of(servers(listener), security(tls, certificates))
    with pytest.raises(StoreUnavailable) as error:
        await require_access(settings, "standard")  # before a worker starts
    assert says(error.value, words)
    with pytest.raises(StoreUnavailable) as error:
        await asyncio.to_thread(run, check_topics(settings), settings)  # a verb
    assert says(error.value, words)
    # What a worker that runs does after an error of a client that connects by itself.
    await kafka.note_refusal(settings.kafka_connection(), KafkaError(), 5.0)
    noted = [one for one in refusals.recent() if f"Kafka at {servers(listener)} " in one and words in one]
    assert bool(noted) == (case not in GUESSED) and all(says(one, words) for one in noted)


def test_a_worker_that_is_refused_ends_with_one_line(
    servers: Callable[[str], str], tls: TlsSettings, says: Says, tmp_path: Path
) -> None:
    security = {
        "protocol": "SASL_SSL",
        "mechanism": "PLAIN",
        "username": "app",
        "password": "pass-wrong",
        "tls": {"ca_file": tls.ca_file},
    }
    settings = {"region": "us", "kafka": servers("sasl"), "redis": "redis://127.0.0.1:1", "kafka_security": security}
    (tmp_path / "us.yaml").write_text(yaml.safe_dump(settings | {"shards": ["mongodb://127.0.0.1:1"]}))
    (tmp_path / "categories.yaml").write_text((PROJECT / "config" / "categories.yaml").read_text())
    done = subprocess.run(
        [sys.executable, "-m", "notify_streams.cli", "worker", "--role", "standard"],
        env={**os.environ, "NOTIFY_CONFIG_DIR": str(tmp_path), "NOTIFY_REGION": "us"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ") and says(line, "refuses the user name or password (PLAIN): check kafka_security.")


async def test_a_missing_right_is_said_before_a_worker_starts(
    broker: Kafka, servers: Callable[[str], str], tls: TlsSettings, says: Says
) -> None:
    settings = settings_of(servers("sasl"), sasl(tls, "PLAIN", user="limited"))
    steps = (
        ("topic region_control", "topic", "region_control", "Read"),
        ("group notify-us-forward", "group", "notify-us-forward", "Read"),
        ("cluster", "topic", "region_control", "Write"),
    )
    for words, resource, name, operation in steps:
        with pytest.raises(StoreUnavailable) as error:
            await require_access(settings, "forward")
        assert says(error.value, f"has not the rights on {words}")
        allow(broker.address, "limited", resource, name, operation)
    await require_access(settings, "forward")
    with pytest.raises(StoreUnavailable) as error:
        await asyncio.to_thread(run, check_topics(settings), settings)
    assert says(error.value, "has not the rights on topic")


async def test_a_right_that_is_taken_and_given_back_stops_nothing_else(
    broker: Kafka, servers: Callable[[str], str], tls: TlsSettings, says: Says, tmp_path: Path
) -> None:
    topic = "of-limited"
    await round_trip(servers("sasl"), sasl(tls, "PLAIN"), topic)
    reads, writes, joins = ("topic", topic, "Read"), ("topic", topic, "Write"), ("group", "secured", "Read")
    for right in (reads, writes, joins):
        allow(broker.address, "limited", *right)
    transport = TransportSettings(observe_every_s=0.3, session_timeout_s=1.5, heartbeat_s=0.3, produce_timeout_s=2.0)
    app = a_faust_app(kafka.connection_to(servers("sasl"), sasl(tls, "PLAIN", user="limited")), tmp_path, transport)
    seen: list[bytes | None] = []

    @app.agent(batched_topic(app, topic, partitions=1))
    async def read(batches: faust.StreamT[object]) -> None:
        async for event in batches.events():
            seen.extend(record.value for record in event.value.records)
            event.ack()

    def said(words: str) -> list[str]:
        return [one for one in refusals.recent() if f"has not the rights on {words}:" in one]

    def has_read(value: bytes) -> bool:
        return seen[-1] == value

    async def send(value: bytes, to: str = topic) -> bool:
        with suppress(BatchNotSent):
            return bool(await producer_of(app).send_batch(to, 0, [(None, value, ())]))
        return False

    app.finalize()
    await app.start()
    try:
        await until(lambda: seen == [b"kept"])
        for number, (words, right) in enumerate(((f"topic {topic}", reads), ("group secured", joins))):
            forbid(broker.address, "limited", *right)
            await until(partial(said, words))
            allow(broker.address, "limited", *right)
            assert await send(b"%d" % number)
            await until(partial(has_read, b"%d" % number))
        assert not await send(b"refused", "of-others") and said("topic of-others")
        assert await send(b"last")
        await until(partial(has_read, b"last"))
    finally:
        await app.stop()


async def test_a_worker_goes_on_with_a_new_password_and_says_that_the_old_one_is_refused(
    broker: Kafka, servers: Callable[[str], str], tls: TlsSettings, says: Says, tmp_path: Path
) -> None:
    await round_trip(servers("sasl"), sasl(tls, "PLAIN"), "for-rotated")
    file = tmp_path / "password"
    file.write_text("pass-first")
    set_password(broker.address, "rotated", "pass-first")
    security = KafkaSecurity("SASL_SSL", "SCRAM-SHA-512", "rotated", Secret.read(file), tls=tls)
    connection = kafka.connection_to(servers("ending"), security)
    app = a_faust_app(connection, tmp_path, TransportSettings(observe_every_s=0.5, produce_timeout_s=2.0))
    files = follow_security("kafka_security", security, kafka.client_options, connection.use, check_s=0.1)
    seen: list[bytes | None] = []

    @app.agent(batched_topic(app, "for-rotated", partitions=1))
    async def read(batches: faust.StreamT[object]) -> None:
        async for event in batches.events():
            seen.extend(record.value for record in event.value.records)
            event.ack()

    async def send(value: bytes) -> bool:
        with suppress(BatchNotSent):
            return bool(await producer_of(app).send_batch("for-rotated", 0, [(None, value, ())]))
        return False

    app.finalize()
    await app.start()
    await files.start()
    try:
        await until(lambda: seen == [b"kept"])
        set_password(broker.address, "rotated", "pass-second")
        refusal = (
            f"Kafka at {servers('ending')} refuses the user name or password (SCRAM-SHA-512): check kafka_security"
        )
        await until(lambda: any(refusal in one for one in refusals.recent()))
        file.write_text("pass-second")
        await until(partial(send, b"later"))
        await until(lambda: seen[-1] == b"later")
    finally:
        await files.close()
        await app.stop()


async def test_another_host_name_is_refused_unless_it_is_not_checked(
    broker: Kafka, ports: dict[str, int], certificates: Certificates, says: Says
) -> None:
    address = f"127.0.0.1:{ports['sasl']}"
    with pytest.raises(KafkaConnectionError) as error:
        await kafka.check_connection(kafka.connection_to(address, sasl(TlsSettings(certificates.ca), "PLAIN")))
    assert says(error.value, "IP address mismatch")
    unchecked = TlsSettings(certificates.ca, check_hostname=False)
    await kafka.check_connection(kafka.connection_to(address, sasl(unchecked, "PLAIN")))


async def test_a_refused_token_is_said_in_one_sentence(
    servers: Callable[[str], str], tls: TlsSettings, endpoint: TokenEndpoint, says: Says
) -> None:
    async def refusal(security: KafkaSecurity) -> KafkaConnectionError:
        with pytest.raises(KafkaConnectionError) as error:
            await kafka.check_connection(kafka.connection_to(servers("sasl"), security))
        found: KafkaConnectionError = error.value
        return found

    assert says(await refusal(endpoint.security(tls, "pass-wrong")), "refuses the client id or secret")
    elsewhere = endpoint.url.replace("localhost", "127.0.0.1")
    assert says(await refusal(endpoint.security(tls, url=elsewhere)), "certificate of 127.0.0.1")
    assert says(await refusal(endpoint.security(tls, url="https://localhost:1/")), "localhost:1 does not respond")
    endpoint.life_s = -5.0
    assert says(await refusal(endpoint.security(tls)), "check the access token")
