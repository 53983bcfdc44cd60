"""A Valkey with users, behind TLS, which the packaged program cannot do itself."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from devtools.fakes.tcp_proxy import FaultProxy
from devtools.stack.ports import free_port
from devtools.stack.valkey import Valkey
from notify_streams import refusals
from notify_streams.admin.services import faults
from notify_streams.errors import StoreUnavailable
from notify_streams.secret import Secret
from notify_streams.security import RedisSecurity, TlsSettings
from notify_streams.security_files import follow_security
from notify_streams.settings import PreferenceSettings, Settings
from notify_streams.stores.redis import access_with, connect, redis_call
from tests.integration.security.certificates import Certificates
from tests.integration.security.conftest import PASSWORD
from tests.waiting import until

pytestmark = pytest.mark.stack


class ValkeyWithUsers(Valkey):
    """The user `app`, and `limited`, who may do nothing."""

    def command(self) -> Sequence[str]:
        return [
            *super().command(),
            *f"--user app on >{PASSWORD} ~* &* +@all --user default off".split(),
            *f"--user limited on >{PASSWORD} ~* +@connection".split(),
        ]

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


def settings_of(uri: str, security: RedisSecurity) -> Settings:
    limits = PreferenceSettings(redis_timeout_s=1.0)
    return Settings(region="us", kafka="127.0.0.1:1", shards=(), redis=uri, redis_security=security, preferences=limits)


async def reads(settings: Settings) -> bool:
    client = connect(settings)
    try:
        with redis_call(client):
            return await client.get("p:ada") is None
    finally:
        await client.aclose()


def with_certificate(
    certificates: Certificates, *, ca: str | None = None, password: str = PASSWORD, user: str = "app"
) -> RedisSecurity:
    return RedisSecurity(user, Secret(password), TlsSettings(ca or certificates.ca, certificates.client))


async def test_a_user_with_a_certificate_is_let_in(port: int, certificates: Certificates) -> None:
    assert await reads(settings_of(f"rediss://localhost:{port}/0", with_certificate(certificates)))
    unchecked = TlsSettings(certificates.ca, certificates.client, check_hostname=False)
    assert await reads(settings_of(f"rediss://127.0.0.1:{port}/0", RedisSecurity("app", Secret(PASSWORD), unchecked)))


async def test_without_its_certificate_a_client_is_not_let_in(port: int, tls: TlsSettings) -> None:
    with pytest.raises(StoreUnavailable, match="failed"):  # the connection ends without a reason
        await reads(settings_of(f"rediss://localhost:{port}/0", RedisSecurity("app", Secret(PASSWORD), tls)))


#: Server, security, what is said.
REFUSED: dict[str, tuple[str, Callable[[Certificates], RedisSecurity], str]] = {
    "password": (
        "localhost",
        lambda files: with_certificate(files, password="pass-wrong"),
        "check redis_security.user",
    ),
    "no log-in": (
        "localhost",
        lambda files: RedisSecurity(tls=TlsSettings(files.ca, files.client)),
        "refuses the user name or password",
    ),
    "right": ("localhost", lambda files: with_certificate(files, user="limited"), "has not the right: give it"),
    "CA": (
        "localhost",
        lambda files: with_certificate(files, ca=files.other_ca),
        "set redis_security.tls.ca_file to the authority",
    ),
    "host name": ("127.0.0.1", with_certificate, "not accepted: IP address mismatch"),
    "expired": ("expired", with_certificate, "certificate has expired: renew it"),
    "other host": ("elsewhere", with_certificate, "not valid for 'localhost': connect to a name"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_refused_is_said_in_one_sentence(
    port: int,
    certificates: Certificates,
    wrong_servers: dict[str, int],
    says: Callable[[object, str], bool],
    case: str,
) -> None:
    server, security, words = REFUSED[case]
    host, at = ("localhost", wrong_servers[server]) if server in wrong_servers else (server, port)
    settings = settings_of(f"rediss://{host}:{at}/0", security(certificates))
    with pytest.raises(StoreUnavailable) as error:  # a verb, and a worker that runs
        await reads(settings)
    assert says(error.value, words) and str(error.value) in refusals.recent()
    assert str(error.value).startswith(f"Redis at {host}:{at} ")
    (refusal,) = [fault.sentence for fault in await faults(settings) if fault.refused]  # before a worker starts
    assert says(refusal, words)


async def test_a_new_password_and_a_new_authority_are_used_without_a_restart(
    valkey: Valkey, port: int, certificates: Certificates, tmp_path: Path
) -> None:
    password, authority = tmp_path / "password", tmp_path / "ca.pem"
    password.write_text("pass-first")
    shutil.copyfile(certificates.other_ca, authority)
    security = RedisSecurity("rotated", Secret.read(password), TlsSettings(str(authority), certificates.client))
    client = connect(settings_of(f"rediss://localhost:{port}/0", security))
    access = access_with(security)
    files = follow_security("redis_security", security, access.loaded, access.use, check_s=0.05)
    admin = redis.Redis(port=valkey.port, username="app", password=PASSWORD)

    async def works() -> bool:
        with suppress(StoreUnavailable), redis_call(client):
            return await client.get("p:ada") is None
        return False

    await files.start()
    try:
        admin.acl_setuser("rotated", enabled=True, passwords="+pass-first", keys="*", commands=["+@all"])
        assert not await works()
        shutil.copyfile(certificates.ca, authority)
        await until(works)
        admin.acl_setuser("rotated", reset_passwords=True, passwords="+pass-second", enabled=True)
        admin.client_kill_filter(user="rotated")
        assert not await works()
        password.write_text("pass-second")
        await until(works)
    finally:
        await files.close()
        await client.aclose()
        admin.close()


async def test_a_redis_cluster_is_refused_in_one_sentence(tmp_path: Path, says: Callable[[object, str], bool]) -> None:
    class Cluster(Valkey):
        def command(self) -> Sequence[str]:
            return [*super().command(), "--cluster-enabled", "yes"]

    cluster = Cluster("cluster", tmp_path / "cluster", free_port())
    await asyncio.to_thread(cluster.start)
    try:
        settings = settings_of(cluster.address, RedisSecurity())
        (refusal,) = [fault.sentence for fault in await faults(settings) if fault.refused]
        assert says(refusal, "is a Redis Cluster, which is not supported: use one server")
        client = connect(settings)
        with pytest.raises(StoreUnavailable) as error, redis_call(client):
            await client.mget(["a", "b"])
        await client.aclose()
        assert says(error.value, "is a Redis Cluster")
    finally:
        await asyncio.to_thread(cluster.stop)
