"""CPU time of other processes, from `/proc`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used, user and system, all threads; steps of one clock tick (usually 10 ms).

    Raises:
        FileNotFoundError: there is no such process.
    """
    return cpu_s_in(Path(f"/proc/{pid}/stat").read_text())


def cpu_s_in(stat: str) -> float:
    """The same of the content of `/proc/<pid>/stat`. The program's name may hold blanks and brackets."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
