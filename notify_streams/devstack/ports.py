"""Free TCP ports of 127.0.0.1, outside the kernel's range for outgoing connections, which could take one while its owner is down."""

import random
import socket
from collections.abc import Collection
from typing import Final

from notify_streams.devstack.failure import StackFailed

_RANGE: Final = range(20_000, 32_000)


def is_free(port: int) -> bool:
    """Whether a server could bind it now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(taken: Collection[int] = (), count: int = 1) -> int:
    """The first of `count` free ports in a row, none of them in `taken`; random, so that two stacks seldom race for one."""
    for _ in range(1_000):
        first = random.choice(_RANGE)
        if all(port not in taken and is_free(port) for port in range(first, first + count)):
            return first
    raise StackFailed(f"no {count} free port(s) between {_RANGE.start} and {_RANGE.stop}")
