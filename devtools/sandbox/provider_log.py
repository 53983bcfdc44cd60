"""Writes the provider log (a line for each accepted message) and the call log.

It has a hash of the contact. A line is written before the response is sent: a message for which a client got a response is in the
log even if the sandbox is killed (not if the machine is: nothing is synced). So is a message whose response was lost.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path

import msgspec

from devtools.sandbox.call_log import ReceivedCall
from notify_streams.admin.audit.provider_log import AcceptedMessage


class ProviderLogWriter:
    """Appends to the file under a lock: a second writer gets BlockingIOError."""

    def __init__(self, path: Path | str) -> None:
        """Creates or continues the file. An incomplete last line, left by a killed process, is removed: it had no response."""
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._size = _complete_size(self._file)
        os.ftruncate(self._file, self._size)
        self._encode = msgspec.json.Encoder().encode
        self._pending_lines: list[bytes] = []
        self._waiters: list[asyncio.Future[None]] = []

    async def append(self, line: AcceptedMessage | ReceivedCall) -> None:
        """Returns when the line is in the file. Lines of one iteration of the event loop are written together.

        Raises:
            OSError: the write failed; the line is not in the file.
        """
        loop = asyncio.get_running_loop()
        if not self._pending_lines:
            loop.call_soon(self._write)
        self._pending_lines.append(self._encode(line))
        written = loop.create_future()
        self._waiters.append(written)
        await written

    def close(self) -> None:
        """Write the pending lines and close the file."""
        self._write()
        os.close(self._file)

    def _write(self) -> None:
        lines, self._pending_lines = self._pending_lines, []
        waiters, self._waiters = self._waiters, []
        if not lines:
            return
        error: OSError | None = None
        try:
            self._size += _write_all(self._file, b"\n".join(lines) + b"\n")
        except OSError as failure:
            error = failure
            os.ftruncate(self._file, self._size)
        for written in waiters:
            if written.done():
                continue
            if error is None:
                written.set_result(None)
            else:
                written.set_exception(error)


def _write_all(file: int, data: bytes) -> int:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]
    return len(data)


def _complete_size(file: int) -> int:
    """The size of the file up to and including its last newline."""
    end = os.fstat(file).st_size
    while end:
        start = max(0, end - 65_536)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
