"""The folders of the local stack."""

import os
from collections.abc import Mapping
from pathlib import Path

#: The checkout: the folder that holds `notify_streams/`.
PROJECT = Path(__file__).resolve().parents[2]


def stack_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """State, data and logs: `NOTIFY_STACK_DIR`, or `.stack/` in the checkout."""
    return Path(environment.get("NOTIFY_STACK_DIR") or PROJECT / ".stack").absolute()


def cache_folder() -> Path:
    """Downloads: `.cache/` in the checkout. `stack down --wipe` keeps it."""
    return PROJECT / ".cache"
