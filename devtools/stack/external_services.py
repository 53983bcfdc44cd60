"""Services that somebody else runs, named by URI in the environment. In: URIs; out: the same faces as our own services.

They are asked whether they answer, and never started, ended, paused or wiped.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

import yaml

from devtools.stack.errors import StackFailed
from devtools.stack.mongodb import Shard
from devtools.stack.service import Service

#: service -> environment variable. The same variables override the application's settings of those names.
VARIABLES: Final = {
    "kafka": "NOTIFY_KAFKA",
    "shards": "NOTIFY_SHARDS",
    "redis": "NOTIFY_REDIS",
    "dynamodb": "NOTIFY_DYNAMODB",
}
_PATIENCE_S: Final = 15.0


def named_in(environment: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """service -> its URIs, for those that the environment names. As in the settings, a list is YAML: `NOTIFY_SHARDS='["…", "…"]'`."""
    found = {service: yaml.safe_load(environment.get(variable, "")) for service, variable in VARIABLES.items()}
    return {service: tuple(uris) if isinstance(uris, list) else (str(uris),) for service, uris in found.items() if uris}


class ExternalService(Service):
    def __init__(self, name: str, folder: Path, address: str, answers: Callable[[str], bool]) -> None:
        super().__init__(name, folder)
        self._address = address
        self._answers = answers

    @property
    def address(self) -> str:
        return self._address

    def command(self) -> Sequence[str]:
        return self._refuse()

    def answers(self) -> bool:
        return self._answers(self._address)

    def start(self) -> bool:
        _await(self.name, self._address, self.answers)
        return False

    def stop(self) -> None:
        return

    def kill(self) -> None:
        self._refuse()

    def pause(self) -> None:
        self._refuse()

    def resume(self) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise StackFailed(f"{self.name} runs at {self._address} and is not ours to start, stop or hurt")


class ExternalShard(Shard):
    """One URI of a replica set or of a mongos; it has no members that we could touch."""

    def __init__(self, name: str, address: str, answers: Callable[[str], bool]) -> None:
        super().__init__(name, "", ())
        self._address = address
        self._answers = answers

    @property
    def address(self) -> str:
        return self._address

    def start(self) -> bool:
        _await(self.name, self._address, lambda: self._answers(self._address))
        return False

    def kill(self) -> None:
        raise StackFailed(f"{self.name} runs at {self._address} and is not ours to hurt")

    def pause(self) -> None:
        self.kill()


def _await(name: str, address: str, answers: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not answers():
        if time.monotonic() > end:
            raise StackFailed(f"{name}: nothing answers at {address}, which the environment names for it")
        time.sleep(0.2)
