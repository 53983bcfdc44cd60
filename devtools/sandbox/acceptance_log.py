"""The sandbox's record: what every provider accepted, one JSON line each, and never the contact.

A line is in the file before the provider's answer leaves, so a client that was told "accepted" is in the record even if
the sandbox is killed in that instant (not if the machine is: nothing is synced). A message whose answer was lost on the
way is in the record too: that is the window in which a duplicate can come about.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path

import msgspec

from notify_streams.admin.audit.provider_log import AcceptedMessage


class AcceptanceLog:
    """The writing end. One process at a time: a second one is refused by a lock on the file (BlockingIOError)."""

    def __init__(self, path: Path | str) -> None:
        """Opens or continues the file; half a line, left by a process that was killed, was never answered and goes."""
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._size = _whole_lines(self._file)
        os.ftruncate(self._file, self._size)
        self._encode = msgspec.json.Encoder().encode
        self._lines: list[bytes] = []
        self._waiting: list[asyncio.Future[None]] = []

    async def append(self, accepted: AcceptedMessage) -> None:
        """Returns when the line is in the file. Lines of one turn of the event loop share one write.

        Raises OSError if it could not be written; then nothing of it is in the file.
        """
        loop = asyncio.get_running_loop()
        if not self._lines:
            loop.call_soon(self._write)
        self._lines.append(self._encode(accepted))
        written = loop.create_future()
        self._waiting.append(written)
        await written

    def close(self) -> None:
        """Writes what still waits."""
        self._write()
        os.close(self._file)

    def _write(self) -> None:
        lines, self._lines = self._lines, []
        waiting, self._waiting = self._waiting, []
        if not lines:
            return
        trouble: OSError | None = None
        try:
            self._size += _write_all(self._file, b"\n".join(lines) + b"\n")
        except OSError as failed:
            trouble = failed
            os.ftruncate(self._file, self._size)
        for written in waiting:
            if written.done():
                continue
            if trouble is None:
                written.set_result(None)
            else:
                written.set_exception(trouble)


def _write_all(file: int, data: bytes) -> int:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]
    return len(data)


def _whole_lines(file: int) -> int:
    """The size of the file up to and including its last newline."""
    end = os.fstat(file).st_size
    while end:
        start = max(0, end - 65_536)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
