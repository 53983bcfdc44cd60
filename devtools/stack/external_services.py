"""Services outside the stack, named by `NOTIFY_KAFKA` and similar variables.

They are only checked for a response; never started, stopped, paused or wiped.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

import yaml

from devtools.stack.errors import StackFailed
from devtools.stack.mongodb import Shard
from devtools.stack.service import Service

#: service -> environment variable. The application's settings have the same variables.
VARIABLES: Final = {
    "kafka": "NOTIFY_KAFKA",
    "shards": "NOTIFY_SHARDS",
    "redis": "NOTIFY_REDIS",
    "dynamodb": "NOTIFY_DYNAMODB",
}
_TIMEOUT_S: Final = 15.0


def external_uris(environment: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """service -> its URIs, for the variables that are set. A list is YAML, as in the settings: `NOTIFY_SHARDS='["…", "…"]'`."""
    found = {service: yaml.safe_load(environment.get(variable, "")) for service, variable in VARIABLES.items()}
    return {service: tuple(uris) if isinstance(uris, list) else (str(uris),) for service, uris in found.items() if uris}


class ExternalService(Service):
    def __init__(self, name: str, folder: Path, address: str, is_healthy: Callable[[str], bool]) -> None:
        super().__init__(name, folder)
        self._address = address
        self._is_healthy = is_healthy

    @property
    def address(self) -> str:
        return self._address

    def command(self) -> Sequence[str]:
        _refuse(self.name, self._address)

    def is_healthy(self) -> bool:
        return self._is_healthy(self._address)

    def start(self) -> bool:
        """Wait until it responds; returns False."""
        _wait_until_healthy(self.name, self._address, self._is_healthy)
        return False

    def stop(self) -> None:
        return

    def kill(self) -> None:
        _refuse(self.name, self._address)

    def pause(self) -> None:
        self.kill()

    def resume(self) -> None:
        self.kill()


class ExternalShard(Shard):
    """The URI of a replica set or a mongos; its members are not ours."""

    def __init__(self, name: str, address: str, is_healthy: Callable[[str], bool]) -> None:
        super().__init__(name, "", ())
        self._address = address
        self._is_healthy = is_healthy

    @property
    def address(self) -> str:
        return self._address

    def start(self) -> bool:
        """Wait until it takes writes; returns False."""
        _wait_until_healthy(self.name, self._address, self._is_healthy)
        return False

    def kill(self) -> None:
        _refuse(self.name, self._address)

    def pause(self) -> None:
        self.kill()


def _refuse(name: str, address: str) -> NoReturn:
    raise StackFailed(f"{name} at {address} is external: the stack does not start, stop, kill or pause it")


def _wait_until_healthy(name: str, address: str, is_healthy: Callable[[str], bool]) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while not is_healthy(address):
        if time.monotonic() > deadline:
            raise StackFailed(
                f"{name}: no response from {address} within {_TIMEOUT_S:.0f} s; check the NOTIFY_ variable"
            )
        time.sleep(0.1)
