"""A service: one process that can be asked whether it answers. In: a name, a folder, a way to start; out: its life and address.

It refuses to know which services a region has and where their ports come from.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from devtools.stack.errors import StackFailed, last_lines
from devtools.stack.process import Process, State


class Service(ABC):
    """Start is idempotent and returns when the service answers. The folder keeps its data, its log and its identity."""

    #: How long a start may take on a slow machine before it is called failed.
    patience_s = 120.0

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.process = Process(folder)

    @property
    def folder(self) -> Path:
        return self.process.folder

    @property
    @abstractmethod
    def address(self) -> str:
        """How clients name it: `host:port` or a URL."""

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The command line; an absolute program first."""

    def environment(self) -> dict[str, str]:
        """What the process sees besides our own environment."""
        return {}

    @abstractmethod
    def answers(self) -> bool:
        """Ask the service itself. False while it does not answer; never raises for that."""

    def prepare(self) -> None:
        """What has to exist before the first start (a formatted disk, a configuration file). Idempotent."""
        return

    @property
    def state(self) -> State:
        return self.process.state

    def start(self) -> bool:
        """Start it unless it runs, and wait until it answers; True if this call started it."""
        began = self.process.pid is None
        if began:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.prepare()
            self.process.start(self.command(), self.environment())
        elif self.state == "paused":
            self.resume()
        self.wait()
        return began

    def wait(self) -> None:
        """Return when it answers; raise with the log's end if it died or took longer than `patience_s`."""
        end = time.monotonic() + self.patience_s
        while not self.answers():
            if self.process.pid is None:
                raise StackFailed(f"{self.name} ended while starting. {last_lines(self.process.log)}")
            if time.monotonic() > end:
                raise StackFailed(
                    f"{self.name} does not answer after {self.patience_s:.0f} s. {last_lines(self.process.log)}"
                )
            time.sleep(0.05)

    def stop(self) -> None:
        """End it in order; its data stays."""
        self.process.end()

    def kill(self) -> None:
        """As a machine that loses power does, short of the disk's cache."""
        self.process.kill()

    def pause(self) -> None:
        """It stops answering and keeps its connections: a hang, not a death."""
        self.process.pause()

    def resume(self) -> None:
        self.process.resume()
