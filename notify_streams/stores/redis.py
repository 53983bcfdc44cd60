"""The factory of Redis clients: log-in, TLS, short time-outs, no retries."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError

from notify_streams.security import TlsSettings

if TYPE_CHECKING:
    from notify_streams.settings import Settings

_CERTIFICATE: Final = re.compile(r"certificate verify failed: ([^(]{1,200})")


def connect(settings: Settings) -> Redis:
    """A client that returns bytes and connects at its first command. It never retries: without Redis, callers read MongoDB."""
    timeout_s = settings.preferences.redis_timeout_s
    security = settings.redis_security
    return Redis.from_url(
        settings.redis,
        username=security.username,
        password=None if security.password is None else security.password.reveal(),
        **_tls_options(settings),
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        max_connections=64,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        decode_responses=False,
    )


def redis_reason(error: Exception) -> str:
    """Why Redis did not do it, without the client's text, which may hold an address."""
    if isinstance(error, AuthenticationError):
        return "refuses the user name or password"
    if isinstance(error, NoPermissionError):
        return "refuses: the user has not the right"
    if found := _CERTIFICATE.search(str(error)):
        return f"has a certificate that is not accepted: {found[1].strip()}"
    return f"failed: {type(error).__name__}"


def _tls_options(settings: Settings) -> dict[str, Any]:
    if not settings.redis.startswith("rediss:"):
        return {}
    tls = settings.redis_security.tls or TlsSettings()
    return {
        "ssl_ca_certs": tls.ca_file,
        "ssl_certfile": tls.certificate_file,
        "ssl_keyfile": tls.key_file,
        "ssl_check_hostname": tls.check_hostname,
    }
