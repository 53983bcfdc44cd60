"""A Valkey with users, behind TLS, which the packaged program cannot do itself."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from urllib.parse import urlsplit

import pytest
import redis

from devtools.fakes.tcp_proxy import FaultProxy
from devtools.stack.ports import free_port
from devtools.stack.valkey import Valkey
from notify_streams.errors import StoreUnavailable
from notify_streams.preferences.deltas import redis_call
from notify_streams.secret import Secret
from notify_streams.security import RedisSecurity, TlsSettings
from notify_streams.settings import PreferenceSettings, Settings
from notify_streams.stores.redis import connect
from tests.integration.security.certificates import Certificates
from tests.integration.security.conftest import PASSWORD

pytestmark = pytest.mark.stack


class ValkeyWithUsers(Valkey):
    """The user `app`, and no other."""

    def command(self) -> Sequence[str]:
        return [*super().command(), *f"--user app on >{PASSWORD} ~* &* +@all --user default off".split()]

    def is_healthy(self) -> bool:
        client = redis.Redis(port=self.port, username="app", password=PASSWORD)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    made = ValkeyWithUsers("redis", tmp_path_factory.mktemp("valkey"), free_port())
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def port(valkey: Valkey, certificates: Certificates) -> AsyncIterator[int]:
    """Of a listener that wants a client's certificate."""
    context = certificates.server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    async with FaultProxy(valkey.address, context) as proxy:
        found = urlsplit(proxy.uri).port
        assert found is not None
        yield found


async def ping(uri: str, security: RedisSecurity) -> bool:
    limits = PreferenceSettings(redis_timeout_s=5.0)
    settings = Settings(region="us", kafka="", shards=(), redis=uri, redis_security=security, preferences=limits)
    client = connect(settings)
    try:
        with redis_call():
            return bool(await client.ping())
    finally:
        await client.aclose()


def with_certificate(certificates: Certificates, *, ca: str | None = None, password: str = PASSWORD) -> RedisSecurity:
    return RedisSecurity("app", Secret(password), TlsSettings(ca or certificates.ca, certificates.client))


async def test_a_user_with_a_certificate_is_let_in(port: int, certificates: Certificates) -> None:
    assert await ping(f"rediss://localhost:{port}/0", with_certificate(certificates))
    unchecked = TlsSettings(certificates.ca, certificates.client, check_hostname=False)
    assert await ping(f"rediss://127.0.0.1:{port}/0", RedisSecurity("app", Secret(PASSWORD), unchecked))


async def test_what_is_refused_is_said_in_one_sentence(
    port: int, certificates: Certificates, tls: TlsSettings, says: Callable[[object, str], bool]
) -> None:
    for host, security, words in (
        ("localhost", with_certificate(certificates, password="pass-wrong"), "refuses the user name or password"),
        ("localhost", RedisSecurity(tls=TlsSettings(certificates.ca, certificates.client)), "refuses"),
        ("localhost", with_certificate(certificates, ca=certificates.other_ca), "certificate that is not accepted"),
        ("127.0.0.1", with_certificate(certificates), "not accepted: IP address mismatch"),
        ("localhost", RedisSecurity("app", Secret(PASSWORD), tls), "failed"),
    ):
        with pytest.raises(StoreUnavailable) as error:
            await ping(f"rediss://{host}:{port}/0", security)
        assert says(error.value, words), str(error.value)
