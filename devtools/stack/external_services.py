"""Services outside the stack, named by `NOTIFY_KAFKA` and similar variables.

They are only checked for a response; never started, stopped, paused or wiped.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

import yaml

from devtools.stack.errors import StackFailed
from devtools.stack.mongodb import Shard
from devtools.stack.process import wait_for
from devtools.stack.service import Service
from notify_streams.addresses import without_credentials

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


class _External:
    """`start` waits for a response, `stop` does nothing, the other methods raise `StackFailed`."""

    name: str
    address: str = ""
    _is_healthy: Callable[[str], bool]

    def is_healthy(self) -> bool:
        return self._is_healthy(self.address)

    def start(self) -> bool:
        if not wait_for(self.is_healthy, _TIMEOUT_S):
            raise StackFailed(
                f"{self.name}: no response from {without_credentials(self.address)} within {_TIMEOUT_S:.0f} s; check the NOTIFY_ variable"
            )
        return False

    def stop(self) -> None:
        return

    def kill(self) -> NoReturn:
        raise StackFailed(
            f"{self.name} at {without_credentials(self.address)} is external: the stack does not start, stop, kill or pause it"
        )

    pause = resume = kill


class ExternalService(_External, Service):
    def __init__(self, name: str, folder: Path, address: str, is_healthy: Callable[[str], bool]) -> None:
        super().__init__(name, folder)
        self.address = address
        self._is_healthy = is_healthy

    def command(self) -> Sequence[str]:
        self.kill()


class ExternalShard(_External, Shard):
    """The URI of a replica set or a mongos; its members are not ours."""

    def __init__(self, name: str, address: str, is_healthy: Callable[[str], bool]) -> None:
        super().__init__(name, "", ())
        self.address = address
        self._is_healthy = is_healthy
