"""Makes a folder of the cache once, for all processes."""

from __future__ import annotations

import fcntl
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def made_once(target: Path, make: Callable[[Path], Path]) -> Path:
    """The folder `target`. If it is absent, `make` gets an empty folder and returns the one that becomes `target`, whole or not at all."""
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as work:
                make(Path(work)).rename(target)
    return target
