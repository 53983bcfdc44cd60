"""The factory of Redis clients: one server or Sentinel, log-in, TLS.

Short time-outs, no retries. With Sentinel each new connection asks the sentinels for the master; a failover ends those to the old one.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterCrossSlotError,
    ClusterError,
    NoPermissionError,
    RedisError,
)

from notify_streams import refusals
from notify_streams.errors import StoreUnavailable
from notify_streams.security import RedisSecurity, TlsSettings

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping

    from notify_streams.secret import Secret
    from notify_streams.settings import Settings

_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_CONNECTIONS: Final = 64
_OF_CLUSTER: Final = (ClusterError, ClusterCrossSlotError, AskError)


class RedisAccess:
    """How connections that begin now log in; `use` changes it."""

    def __init__(self, security: RedisSecurity) -> None:
        self.security = security
        self._context: ssl.SSLContext | None = None

    def loaded(self, security: RedisSecurity) -> tuple[RedisSecurity, ssl.SSLContext | None]:
        """What `use` takes; reads the files.

        Raises:
            OSError: a certificate file cannot be read.
        """
        return security, None if self._context is None else (security.tls or TlsSettings()).context()

    def use(self, loaded: tuple[RedisSecurity, ssl.SSLContext | None]) -> None:
        """Log in with this from now on."""
        self.security, self._context = loaded

    def context(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = (self.security.tls or TlsSettings()).context()
        return self._context


@cache
def access_with(security: RedisSecurity) -> RedisAccess:
    """That of all clients with these settings."""
    return RedisAccess(security)


class _Login(CredentialProvider):
    """The present user name and password: for the server, or for the sentinels."""

    def __init__(self, access: RedisAccess, prefix: str = "") -> None:
        self._access = access
        self._prefix = prefix

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        username: str | None = getattr(self._access.security, f"{self._prefix}username")
        password: Secret = getattr(self._access.security, f"{self._prefix}password")
        return (password.reveal(),) if username is None else (username, password.reveal())

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()


class _TlsConnection(SSLConnection):
    """Reads no files: redis-py's own reads them for each connection object, once."""

    def __init__(self, *, access: RedisAccess, **options: Any) -> None:
        super().__init__(**options)
        self._access = access

    def _connection_arguments(self) -> Mapping[str, Any]:
        self.ssl_context.context = self._access.context()
        found: Mapping[str, Any] = super()._connection_arguments()
        return found


class _SentinelTlsConnection(_TlsConnection, SentinelManagedSSLConnection):
    """The same to the master that the sentinels name."""


class _SentinelClient(Redis):
    """A client of one sentinel, which keeps why it failed: redis-py's `Sentinel` drops it."""

    failure: RedisError | None = None

    async def sentinel_masters(self, **options: Any) -> Any:
        self.failure = None
        try:
            return await super().sentinel_masters(**options)
        except RedisError as error:
            self.failure = error
            raise


class _Sentinel(Sentinel):
    """Says what the sentinels refuse."""

    async def discover_master(self, service_name: str) -> Any:
        try:
            return await super().discover_master(service_name)
        except MasterNotFoundError:
            for one in cast("list[_SentinelClient]", self.sentinels):
                if one.failure is not None and redis_refusal(one.failure):
                    raise one.failure from None
            raise


class _SentinelPool(SentinelConnectionPool):
    """Connections to the master; owns the clients of the sentinels."""

    async def aclose(self) -> None:
        await super().aclose()
        await self.sentinel_manager.aclose()


def connect(settings: Settings) -> Redis:
    """A client that returns bytes and connects at its first command. It never retries: without Redis, callers read MongoDB."""
    url = urlsplit(settings.redis)
    scheme, _, sentinel = url.scheme.partition("+")
    access, is_encrypted = access_with(settings.redis_security), scheme == "rediss"
    timeout_s = settings.preferences.redis_timeout_s
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "max_connections": _CONNECTIONS,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "decode_responses": False,
    }
    if is_encrypted:
        options |= {"access": access, "connection_class": _TlsConnection}
    login = _Login(access) if access.security.password else None
    path = url.path.strip("/")
    if not sentinel:
        options |= {"host": url.hostname, "port": url.port or _PORT, "db": int(path or 0), "credential_provider": login}
        return Redis.from_pool(ConnectionPool(**options))
    manager = _Sentinel([])  # type: ignore[no-untyped-call]
    sentinel_login = _Login(access, "sentinel_") if access.security.sentinel_password else None
    for address in url.netloc.split(","):
        one = urlsplit(f"//{address}")
        own = {"host": one.hostname, "port": one.port or _SENTINEL_PORT, "credential_provider": sentinel_login}
        manager.sentinels.append(_SentinelClient.from_pool(ConnectionPool(**(options | own))))
    master, _, database = path.partition("/")
    options["connection_class"] = _SentinelTlsConnection if is_encrypted else SentinelManagedConnection
    options |= {"db": int(database or 0), "credential_provider": login}
    return Redis.from_pool(_SentinelPool(master, manager, **options))  # type: ignore[no-untyped-call]


async def check(redis: Redis) -> None:
    """Ask Redis for an answer.

    Raises:
        RedisError, OSError: it gives none, refuses, or is a cluster.
    """
    if (await redis.info("cluster")).get("cluster_enabled"):
        raise ClusterError


@contextmanager
def redis_call(redis: Redis) -> Iterator[None]:
    """Translate errors of Redis. None is permanent for a record: without Redis, every caller reads or waits for the durable record.

    Raises:
        StoreUnavailable: Redis refused the call or did not answer.
    """
    try:
        yield
    except (RedisError, OSError) as error:
        note_refusal(redis, error)
        raise StoreUnavailable(f"Redis at {address_of(redis)} {redis_reason(error)}") from error


def note_refusal(redis: Redis, error: Exception) -> None:
    """Tell the operator, if it is a refusal."""
    if refusal := redis_refusal(error):
        refusals.note("Redis", f"Redis at {address_of(redis)} {refusal}")


def address_of(redis: Redis) -> str:
    """``host:port``, or the name of the master and the first sentinel."""
    pool = redis.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        return f"{pool.service_name} of sentinel {address_of(pool.sentinel_manager.sentinels[0])}"
    return f"{pool.connection_kwargs.get('host')}:{pool.connection_kwargs.get('port')}"


def redis_refusal(error: Exception) -> str | None:
    """What Redis refuses, and what to do; None if it is anything else."""
    if isinstance(error, AuthenticationError):
        return "refuses the user name or password: check redis_security.username and .password, and those of sentinels"
    if isinstance(error, NoPermissionError):
        return "refuses: the user has not the right: give it all commands on the keys p* and control:* (ACL SETUSER)"
    if isinstance(error, _OF_CLUSTER):
        return "is a Redis Cluster, which is not supported: use one server, or Redis Sentinel (redis+sentinel://)"
    return refusals.certificate_problem(str(error), "redis_security")


def redis_reason(error: Exception) -> str:
    """Why Redis did not do it, without the client's text, which may hold an address."""
    return redis_refusal(error) or f"failed: {type(error).__name__}"
