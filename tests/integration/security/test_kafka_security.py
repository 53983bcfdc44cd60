"""A broker that wants TLS with SASL on one listener, a client's certificate on another."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import faust
import pytest
from aiohttp import BasicAuth, web
from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaConnectionError

from devtools.stack.kafka import Kafka
from devtools.stack.ports import free_port
from notify_streams import kafka
from notify_streams.admin.topics import check_topics
from notify_streams.errors import StoreUnavailable
from notify_streams.secret import Secret
from notify_streams.security import KafkaSecurity, OAuthSettings, TlsSettings
from notify_streams.settings import Settings
from notify_streams.transport import TransportSettings, attach, batched_topic, faust_credentials
from tests.integration.security.certificates import Certificates
from tests.integration.security.conftest import PASSWORD
from tests.waiting import until

pytestmark = pytest.mark.stack

Says = Callable[[object, str], bool]
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    first = free_port(count=4)
    return {name: first + at for at, name in enumerate(("plain", "controller", "sasl", "mutual"))}


@pytest.fixture(scope="module")
def broker(
    tmp_path_factory: pytest.TempPathFactory, certificates: Certificates, ports: dict[str, int]
) -> Iterator[Kafka]:
    modules = "org.apache.kafka.common.security"
    sasl = "listener.name.sasl."
    properties = {
        "listeners": f"PLAINTEXT://127.0.0.1:{ports['plain']},CONTROLLER://127.0.0.1:{ports['controller']},"
        f"SASL://127.0.0.1:{ports['sasl']},MUTUAL://127.0.0.1:{ports['mutual']}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{ports['plain']},"
        f"SASL://localhost:{ports['sasl']},MUTUAL://localhost:{ports['mutual']}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_SSL,MUTUAL:SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": certificates.server,
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": certificates.ca,
        "listener.name.mutual.ssl.client.auth": "required",
        f"{sasl}sasl.enabled.mechanisms": ",".join((*MECHANISMS, "OAUTHBEARER")),
        f"{sasl}plain.sasl.jaas.config": f'{modules}.plain.PlainLoginModule required user_app="{PASSWORD}";',
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


def sasl(tls: TlsSettings, mechanism: str, password: str = PASSWORD) -> KafkaSecurity:
    return KafkaSecurity("SASL_SSL", mechanism, "app", Secret(password), tls=tls)  # type: ignore[arg-type]


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


def a_faust_app(connection: kafka.KafkaConnection, folder: Path) -> faust.App:
    app = faust.App(
        "secured",
        broker=f"batched://{connection.servers}",
        broker_credentials=faust_credentials(connection),
        datadir=str(folder),
        web_enabled=False,
        topic_disable_leader=True,
    )
    attach(app, TransportSettings())
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


REFUSED = {
    "password": ("sasl", lambda tls, _: sasl(tls, "PLAIN", "pass-wrong"), "refuses the user name or password (PLAIN)"),
    "SCRAM password": (
        "sasl",
        lambda tls, _: sasl(tls, "SCRAM-SHA-256", "pass-wrong"),
        "refuses the user name or password (SCRAM-SHA-256)",
    ),
    "CA": ("sasl", lambda _, files: sasl(TlsSettings(files.other_ca), "PLAIN"), "certificate that is not accepted"),
    "no client certificate": ("mutual", lambda tls, _: KafkaSecurity("SSL", tls=tls), "client's certificate"),
    "no TLS": ("sasl", lambda _, __: KafkaSecurity(), "check the security protocol"),
}


@pytest.mark.parametrize(("listener", "security", "words"), REFUSED.values(), ids=REFUSED)
async def test_what_is_refused_is_said_in_one_sentence(
    servers: Callable[[str], str],
    tls: TlsSettings,
    certificates: Certificates,
    says: Says,
    listener: str,
    security: Callable[[TlsSettings, Certificates], KafkaSecurity],
    words: str,
) -> None:
    settings = Settings(
        region="us", kafka=servers(listener), shards=(), redis="", kafka_security=security(tls, certificates)
    )
    with pytest.raises(StoreUnavailable) as error:
        await check_topics(settings)
    assert says(error.value, words)


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
