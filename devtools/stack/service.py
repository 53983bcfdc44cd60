"""A service: one detached process with an address and a health check."""

import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from devtools.stack.errors import StackFailed, last_lines
from devtools.stack.process import Process, State, wait_for


class Service(ABC):
    """Its folder holds its data, its log and its identity file."""

    #: Limit of a start on a slow machine.
    timeout_s = 120.0
    #: Precedes `host:port` in the address.
    scheme = ""

    def __init__(self, name: str, folder: Path, port: int = 0) -> None:
        self.name = name
        self.port = port
        self.process = Process(folder)

    @property
    def folder(self) -> Path:
        return self.process.folder

    @property
    def state(self) -> State:
        return self.process.state

    @property
    def address(self) -> str:
        """`host:port` or a URL, for clients."""
        return f"{self.scheme}127.0.0.1:{self.port}"

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The command line; the program is an absolute path."""

    @abstractmethod
    def is_healthy(self) -> bool:
        """Whether the service responds. Does not raise."""

    def environment(self) -> dict[str, str]:
        """Variables for the process, added to our environment."""
        return {}

    def prepare(self) -> None:
        """Create what the process needs, such as a configuration file. Called before each start."""
        return

    def start(self) -> bool:
        """Start it unless it runs, resume it if it is paused, wait until it is healthy; True if this call started it."""
        starts = self.process.pid is None
        if starts:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.prepare()
            self.process.start(self.command(), self.environment())
        elif self.state == "paused":
            self.resume()
        self.wait_until_healthy()
        return starts

    def wait_until_healthy(self) -> None:
        """Wait for the health check.

        Raises:
            StackFailed: it ended, or was not healthy within `timeout_s`; with the end of its log.
        """
        if not wait_for(lambda: self.is_healthy() or self.process.pid is None, self.timeout_s):
            log = last_lines(self.process.log)
            raise StackFailed(f"{self.name} does not respond after {self.timeout_s:.0f} s. {log}")
        if self.process.pid is None:
            raise StackFailed(f"{self.name} ended while starting. {last_lines(self.process.log)}")

    def stop(self) -> None:
        """SIGTERM, SIGKILL after 15 s. Its data stay."""
        self.process.stop()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and does not respond."""
        self.process.pause()

    def resume(self) -> None:
        """SIGCONT."""
        self.process.resume()


def responds_ok(url: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False
