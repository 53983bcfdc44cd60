"""Takes a shard its primary, and nothing else: the others elect, and the lost one returns as one of them.

An election needs more than half of the members, so at least three; a shard of one is away until its member is back.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from devtools.stack import StackFailed

if TYPE_CHECKING:
    from devtools.stack.mongodb import Member, Shard

_FEWEST: Final = 3
_POLL_S: Final = 0.1


def fail_primary(shard: Shard) -> str:
    """Kill the primary, wait for the next one and for the return of the lost one; says what happened. Blocks.

    Raises:
        StackFailed: the shard has no primary, or gets none.
    """
    lost = _primary(shard)
    lost.kill()
    if len(shard.members) < _FEWEST:
        shard.start()
        return f"killed the only primary, {lost.name}, and started it again"
    elected = _primary(shard)
    shard.start()
    return f"killed the primary {lost.name}; {elected.name} was elected"


def _primary(shard: Shard) -> Member:
    end = time.monotonic() + shard.timeout_s
    while (found := shard.primary()) is None:
        if time.monotonic() > end:
            raise StackFailed(f"{shard.name} has no primary after {shard.timeout_s:.0f} s")
        time.sleep(_POLL_S)
    return found
