"""A mongod that wants TLS and a log-in: by password or by certificate."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from devtools.fakes.tcp_proxy import FaultProxy
from devtools.stack.mongodb import mongod
from devtools.stack.ports import free_port
from devtools.stack.service import Service
from notify_streams import refusals
from notify_streams.admin.services import faults
from notify_streams.admin.shards.init import init_shards
from notify_streams.errors import StoreUnavailable
from notify_streams.secret import Secret
from notify_streams.security import MongoSecurity, TlsSettings
from notify_streams.security_files import follow_security
from notify_streams.settings import OutboxSettings, Settings
from notify_streams.stores.mongo import Shards
from notify_streams.stores.mongo_errors import mongo_call
from tests.integration.security.certificates import Certificates
from tests.integration.security.conftest import PASSWORD
from tests.waiting import until

pytestmark = pytest.mark.stack


class SecureMongod(Service):
    """One server with the user `app` (read and write in `notify`) and the user of the client's certificate."""

    certificates: Certificates

    def prepare(self) -> None:
        (self.folder / "data").mkdir()
        mongod().chmod(0o755)

    def command(self) -> Sequence[str]:
        files = self.certificates
        tls = ["--tlsMode", "requireTLS", "--tlsCertificateKeyFile", files.server, "--tlsCAFile", files.ca]
        listen = ["--bind_ip", "127.0.0.1", "--port", str(self.port), "--nounixsocket", "--dbpath", "data"]
        return [str(mongod()), "--auth", *tls, "--tlsAllowConnectionsWithoutCertificates", *listen]

    def client(self, **options: Any) -> MongoClient[dict[str, Any]]:
        uri = f"mongodb://localhost:{self.port}/"
        return MongoClient(uri, tls=True, tlsCAFile=self.certificates.ca, serverSelectionTimeoutMS=1000, **options)

    def is_healthy(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.admin.command("hello")["ok"])
        except PyMongoError:
            return False

    def add_users(self) -> None:
        """The first is added without a log-in, which a new server allows from this machine."""
        with self.client() as client:
            client.admin.command("createUser", "root", pwd="root", roles=["root"])
        with self.client(username="root", password="root") as client:
            roles = [{"role": "readWrite", "db": "notify"}, {"role": "clusterMonitor", "db": "admin"}]
            client.admin.command("createUser", "app", pwd=PASSWORD, roles=roles)
            client["$external"].command("createUser", "CN=app,O=notify", roles=roles)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[SecureMongod]:
    made = SecureMongod("mongod", tmp_path_factory.mktemp("mongod"), free_port())
    made.certificates = certificates
    made.start()
    made.add_users()
    yield made
    made.stop()


@asynccontextmanager
async def shards_of(server: SecureMongod, security: MongoSecurity, host: str = "localhost") -> AsyncIterator[Shards]:
    uri = f"mongodb://{host}:{server.port}/?directConnection=true"
    limits = OutboxSettings(transaction_timeout_s=2.0)
    settings = Settings(region="us", kafka="", redis="", shards=(uri,), mongo_security=security, outbox=limits)
    shards = Shards(settings)
    await shards.start()
    yield shards
    await shards.close()


async def test_a_password_or_a_certificate_opens_the_server(
    server: SecureMongod, tls: TlsSettings, certificates: Certificates
) -> None:
    by_certificate = TlsSettings(certificates.ca, certificates.client)
    for security in (
        MongoSecurity("app", Secret(PASSWORD), tls=tls),
        MongoSecurity("app", Secret(PASSWORD), "admin", "SCRAM-SHA-256", tls),
        MongoSecurity(mechanism="MONGODB-X509", tls=by_certificate),
    ):
        async with shards_of(server, security) as shards:
            await shards.collection("kept", 0).insert_one({"a": 1})
            assert await shards.collection("kept", 0).find_one({"a": 1})


async def test_another_host_name_is_accepted_if_it_is_not_checked(
    server: SecureMongod, certificates: Certificates
) -> None:
    unchecked = TlsSettings(certificates.ca, check_hostname=False)
    async with shards_of(server, MongoSecurity("app", Secret(PASSWORD), tls=unchecked), "127.0.0.1") as shards:
        assert await shards.client(0).notify.command("ping")


def by_password(tls: TlsSettings, password: str = PASSWORD) -> MongoSecurity:
    return MongoSecurity("app", Secret(password), tls=tls)


#: Server, security, what is said.
REFUSED: dict[str, tuple[str, Callable[[TlsSettings, Certificates], MongoSecurity], str]] = {
    "password": ("localhost", lambda tls, _: by_password(tls, "pass-wrong"), "check mongo_security.username and"),
    "no log-in": ("localhost", lambda tls, _: MongoSecurity(tls=tls), "has not the right: give it"),
    "CA": ("localhost", lambda _, files: by_password(TlsSettings(files.other_ca)), "set mongo_security.tls.ca_file"),
    "host name": ("127.0.0.1", lambda tls, _: by_password(tls), "not accepted: IP address mismatch"),
    "expired": ("expired", lambda tls, _: by_password(tls), "certificate has expired: renew it"),
    "other host": ("elsewhere", lambda tls, _: by_password(tls), "not valid for 'localhost': connect to a name"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_refused_is_said_in_one_sentence(
    server: SecureMongod,
    tls: TlsSettings,
    certificates: Certificates,
    wrong_servers: dict[str, int],
    says: Callable[[object, str], bool],
    case: str,
) -> None:
    name, security, words = REFUSED[case]
    host, port = ("localhost", wrong_servers[name]) if name in wrong_servers else (name, server.port)
    uri = f"mongodb://{host}:{port}/?directConnection=true"
    limits = OutboxSettings(transaction_timeout_s=1.0)
    settings = Settings(
        region="us",
        kafka="127.0.0.1:1",
        redis="redis://127.0.0.1:1/0",
        shards=(uri,),
        mongo_security=security(tls, certificates),
        outbox=limits,
    )
    async with Shards(settings) as shards:
        with pytest.raises(StoreUnavailable) as error:  # a verb
            await init_shards(Settings(region="us", kafka="", redis="", shards=("",)), shards)
    assert says(error.value, words)
    async with Shards(settings) as shards:
        with pytest.raises(StoreUnavailable) as error:  # a worker that runs
            await shards.refresh_directory(require_all=True)
        assert says(error.value, f"shard 0 at mongodb://{host}:{port}/: MongoDB ") and says(error.value, words)
        assert str(error.value) in refusals.recent()
    (refusal,) = [fault.sentence for fault in await faults(settings) if fault.refused]  # before a worker starts
    assert says(refusal, words) and refusal.startswith(f"MongoDB shard 0 at mongodb://{host}:{port}/ ")


async def test_a_new_password_and_a_new_authority_are_used_without_a_restart(
    server: SecureMongod, certificates: Certificates, tmp_path: Path
) -> None:
    password, authority = tmp_path / "password", tmp_path / "ca.pem"
    password.write_text("pass-first")
    shutil.copyfile(certificates.ca, authority)

    def set_password(text: str) -> None:
        with server.client(username="root", password="root") as client:
            known = client.admin.command("usersInfo", "rotated")["users"]
            roles = {} if known else {"roles": ["readWriteAnyDatabase"]}
            client.admin.command({"updateUser" if known else "createUser": "rotated", "pwd": text, **roles})

    set_password("pass-first")
    async with FaultProxy(f"mongodb://127.0.0.1:{server.port}") as proxy:
        uri = proxy.uri.replace("127.0.0.1", "localhost")
        security = MongoSecurity("rotated", Secret.read(password), tls=TlsSettings(str(authority)))
        limits = OutboxSettings(transaction_timeout_s=1.0)
        settings = Settings(region="us", kafka="", redis="", shards=(uri,), mongo_security=security, outbox=limits)
        async with Shards(settings) as shards:
            files = follow_security("mongo_security", security, lambda new: new, shards.use, check_s=0.05)
            await files.start()

            async def works() -> bool:
                with suppress(StoreUnavailable), mongo_call("insert", 2.0):
                    await shards.collection("kept", 0).insert_one({})
                    return True
                return False

            assert await works()
            set_password("pass-second")
            proxy.cut()
            assert not await works()
            password.write_text("pass-second")
            await until(works)
            shutil.copyfile(certificates.other_ca, authority)
            await until(lambda: _fails(works))
            shutil.copyfile(certificates.ca, authority)
            await until(works)
            await files.close()


async def _fails(works: Callable[[], Awaitable[bool]]) -> bool:
    return not await works()
