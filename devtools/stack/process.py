"""One process that outlives its starter. In: a command and a folder. Out: its life: start, signals, end.

It refuses to know what the command does. The process itself writes who it is (pid, start time, boot) before it becomes the
command, so a starter that is killed leaves no unknown orphan, and a recycled pid is never signalled.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from devtools.stack.errors import StackFailed

State = Literal["running", "paused", "stopped"]

_BOOT = Path("/proc/sys/kernel/random/boot_id")
#: $0 is the identity file. Field 22 of stat is the start time; the shell's own name has no blank, so `cut` is right.
_BECOME = """
echo "$$ $(cut -d ' ' -f 22 /proc/$$/stat) $(cat /proc/sys/kernel/random/boot_id)" > "$0.new" &&
mv "$0.new" "$0" && cd "$(dirname "$0")" && exec "$@"
"""


@dataclass(frozen=True)
class Process:
    """The process whose identity, log and working folder are in `folder`; it may not exist (yet, or any more)."""

    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def _identity(self) -> Path:
        return self.folder / "process"

    def start(self, command: Sequence[str], environment: dict[str, str] | None = None) -> int:
        """Start it in its own session and as batch work, output to the log; returns the pid. The caller has checked that none is running."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._identity.unlink(missing_ok=True)
        pid = os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", _BECOME, str(self._identity), *command],
            {**os.environ, **(environment or {})},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        # On few cores, a service that is woken by a command would otherwise take the processor from the worker that sent it. Every
        # thread inherits this from the shell, which has yet to write who it is.
        with contextlib.suppress(ProcessLookupError):
            os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))
        if not _within(10, self._identity.exists):
            raise StackFailed(f"the process {pid} did not come up in {self.folder}: is the disk full?")
        return pid

    @property
    def pid(self) -> int | None:
        """Its pid while it lives, else None."""
        return found[0] if (found := self._look()) else None

    @property
    def state(self) -> State:
        found = self._look()
        return "stopped" if found is None else "paused" if found[1] in "Tt" else "running"

    def _look(self) -> tuple[int, str] | None:
        try:
            pid, start, boot = self._identity.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        if boot != _BOOT.read_text().strip():
            return None
        with contextlib.suppress(ChildProcessError):
            os.waitpid(int(pid), os.WNOHANG)
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return (int(pid), fields[0]) if fields[19] == start and fields[0] not in "ZX" else None

    def signal(self, number: signal.Signals) -> bool:
        """Signal the whole session group; False if it is not there."""
        pid = self.pid
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number)
        return True

    def pause(self) -> None:
        """SIGSTOP; returns when it has stopped (or is gone)."""
        self.signal(signal.SIGSTOP)
        _within(10, lambda: self.state != "running")

    def resume(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    def end(self, patience_s: float = 15) -> None:
        """SIGTERM (a paused one is woken for it), SIGKILL after `patience_s`; returns when it is gone."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        if not _within(patience_s, lambda: self.pid is None):
            self.kill()

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self.signal(signal.SIGKILL)
        if not _within(10, lambda: self.pid is None):
            raise StackFailed(f"the process {self.pid} ({self.folder}) does not end")


def _within(limit_s: float, holds: Callable[[], bool], pause_s: float = 0.02) -> bool:
    end = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(pause_s)
    return True
