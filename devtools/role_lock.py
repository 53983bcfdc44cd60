"""One running copy of a role of a region on this machine: a locked file."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING

from devtools.stack.ports import is_free
from notify_streams.app import web_port
from notify_streams.errors import Refused

if TYPE_CHECKING:
    from notify_streams.settings import Settings


class RoleLock:
    """Held by this process and by the worker that inherits `file`, so also by a worker whose supervisor was killed."""

    def __init__(self, settings: Settings, role: str) -> None:
        """Take the lock.

        Raises:
            Refused: the role runs already, its port is used by another program, or `data_dir` cannot be written.
        """
        path = Path(settings.data_dir) / settings.region / f"{role}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise Refused(f"data_dir: {path} cannot be written: {error.strerror}; set NOTIFY_DATA_DIR") from error
        place = f"role {role} of region {settings.region}"
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            port = web_port(settings, role)
            if not is_free(port):
                raise Refused(f"{place}: port {port} is used by another program; set NOTIFY_WEB_PORT_BASE")
        except BlockingIOError:
            holder = os.pread(self.file, 20, 0).decode()
            os.close(self.file)
            raise Refused(f"{place} runs already here, started by process {holder}: stop that one first") from None
        except Refused:
            os.close(self.file)
            raise
        os.truncate(self.file, 0)
        os.pwrite(self.file, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Give it up; a worker that inherited it keeps it until it ends."""
        os.close(self.file)
