"""A detached process, identified by pid, start time and boot id.

The process writes these into its identity file before it becomes the command. So a killed starter leaves no unknown process,
and a pid that was reused is never signalled.
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
#: $0 is the identity file. Field 22 of stat is the start time; `cut` works because the name of the shell has no blank.
_EXEC = """
echo "$$ $(cut -d ' ' -f 22 /proc/$$/stat) $(cat /proc/sys/kernel/random/boot_id)" > "$0.new" &&
mv "$0.new" "$0" && cd "$(dirname "$0")" && exec "$@"
"""


@dataclass(frozen=True)
class Process:
    """The process whose identity file, log and working directory are in `folder`; it may not run."""

    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def _identity(self) -> Path:
        return self.folder / "process"

    def start(self, command: Sequence[str], environment: dict[str, str] | None = None) -> int:
        """Start it in a session of its own, output to the log; returns the pid. The caller has checked that it does not run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._identity.unlink(missing_ok=True)
        pid = os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", _EXEC, str(self._identity), *command],
            {**os.environ, **(environment or {})},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        # With few cores, a service that is woken by a command would preempt the worker that sent it. Batch scheduling avoids this.
        # All threads inherit it: the shell has not yet run the command.
        with contextlib.suppress(ProcessLookupError):
            os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))
        if not wait_for(self._identity.exists, 10):
            raise StackFailed(f"process {pid} did not write {self._identity} within 10 s; check for a full disk")
        return pid

    @property
    def pid(self) -> int | None:
        """Its pid while it runs, else None."""
        found = self._look_up()
        return found[0] if found else None

    @property
    def state(self) -> State:
        found = self._look_up()
        return "stopped" if found is None else "paused" if found[1] in "Tt" else "running"

    def _look_up(self) -> tuple[int, str] | None:
        """The pid and the kernel's state letter."""
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
        """Signal its process group; False if it does not run."""
        pid = self.pid
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number)
        return True

    def pause(self) -> None:
        """SIGSTOP; returns when it has stopped or ended."""
        self.signal(signal.SIGSTOP)
        wait_for(lambda: self.state != "running", 10)

    def resume(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    def stop(self, grace_s: float = 15) -> None:
        """SIGTERM (a paused process is resumed for it), SIGKILL after `grace_s`; returns when it has ended."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        if not wait_for(lambda: self.pid is None, grace_s):
            self.kill()

    def kill(self) -> None:
        """SIGKILL; returns when it has ended."""
        self.signal(signal.SIGKILL)
        if not wait_for(lambda: self.pid is None, 10):
            raise StackFailed(f"process {self.pid} ({self.folder}) has not ended 10 s after SIGKILL")


def wait_for(holds: Callable[[], object], timeout_s: float) -> bool:
    """Poll until `holds()` is true; False if it is not within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
