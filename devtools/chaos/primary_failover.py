"""Kills the primary of a shard so that a secondary is elected.

An election takes three members. A shard of one is unavailable until its member has been started again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from devtools.stack import StackFailed

if TYPE_CHECKING:
    from devtools.stack.mongodb import Member, Shard

_MAJORITY_NEEDS: Final = 3
_POLL_S: Final = 0.1


def fail_primary(shard: Shard) -> str:
    """Kill the primary, wait for the next one, start the killed member again; returns a description. Blocks.

    Raises:
        StackFailed: the shard has no primary, or elects none.
    """
    killed = _wait_for_primary(shard)
    killed.kill()
    if len(shard.members) < _MAJORITY_NEEDS:
        shard.start()
        return f"killed the only primary, {killed.name}, and started it again"
    elected = _wait_for_primary(shard)
    shard.start()
    return f"killed the primary {killed.name}; {elected.name} was elected"


def _wait_for_primary(shard: Shard) -> Member:
    deadline = time.monotonic() + shard.timeout_s
    while (found := shard.primary()) is None:
        if time.monotonic() > deadline:
            raise StackFailed(f"{shard.name} has no primary after {shard.timeout_s:.0f} s")
        time.sleep(_POLL_S)
    return found
