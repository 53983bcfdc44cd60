"""Where the stack keeps things: one folder for state, data and logs, one for what was downloaded."""

import os
from collections.abc import Mapping
from pathlib import Path

#: The checkout: the folder that holds `notify_streams/`.
PROJECT = Path(__file__).resolve().parents[2]


def stack_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """`NOTIFY_STACK_DIR`, or `.stack/` in the checkout."""
    return Path(environment.get("NOTIFY_STACK_DIR") or PROJECT / ".stack").absolute()


def cache_folder() -> Path:
    """`.cache/` in the checkout. It survives `stack down --wipe`, so the next start downloads nothing."""
    return PROJECT / ".cache"
