"""Servers that want TLS and a log-in; `app` with `PASSWORD` may do everything."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from notify_streams.security import TlsSettings
from tests.integration.security.certificates import Certificates, write_certificates

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PASSWORD = "pass/w:rd"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return write_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def tls(certificates: Certificates) -> TlsSettings:
    """Those of a client that trusts the servers."""
    return TlsSettings(certificates.ca)


@pytest.fixture(scope="session")
async def wrong_servers(certificates: Certificates) -> AsyncIterator[dict[str, int]]:
    """Ports of servers with a certificate that no client accepts, so that it never comes to the service's own protocol."""
    contexts = {name: certificates.server_context(getattr(certificates, name)) for name in ("expired", "elsewhere")}
    servers = {
        name: await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
        for name, context in contexts.items()
    }
    yield {name: server.sockets[0].getsockname()[1] for name, server in servers.items()}
    for server in servers.values():
        server.close()


@pytest.fixture(scope="session")
def says() -> Callable[[object, str], bool]:
    """Whether an error is one sentence with these words and without the password."""

    def check(error: object, words: str) -> bool:
        text = str(error)
        return words in text and "\n" not in text and len(text) < 400 and "pass" not in text.replace("password", "")

    return check
