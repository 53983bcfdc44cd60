"""The wall clock of one worker, which can be stepped (Debian's libfaketime)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from devtools.stack.errors import StackFailed
from devtools.stack.paths import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

_LIBRARY: Final = PROJECT / ".cache" / "lib" / "libfaketime.so.1"


class SteppedClock:
    """The clock of the processes that are started with `environ`. Their monotonic clock is never changed."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @property
    def available(self) -> bool:
        """Whether `scripts/faketime` has found the library."""
        return _LIBRARY.exists()

    def environ(self) -> dict[str, str]:
        """The variables of a process whose clock can be stepped; none without the library."""
        if not self.available:
            return {}
        self.step(0)
        return {
            "LD_PRELOAD": str(_LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
            # Seconds between two reads of the file.
            "FAKETIME_CACHE_DURATION": "1",
        }

    def step(self, seconds: int) -> None:
        """Set how far the clock is ahead.

        Raises:
            StackFailed: there is no libfaketime here.
        """
        if not self.available:
            raise StackFailed("no clock can be stepped without libfaketime: scripts/faketime downloads it from Debian")
        self._file.write_text(f"{seconds:+d}s\n")
