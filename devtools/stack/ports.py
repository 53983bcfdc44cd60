"""Free TCP ports of 127.0.0.1 for local services.

They are outside the kernel's range for outgoing connections, which could take the port of a stopped service.
"""

import os
import random
import re
import socket
from collections.abc import Collection, Mapping
from typing import Final

from devtools.stack.errors import StackFailed

_VARIABLE: Final = "NOTIFY_STACK_PORTS"
_DEFAULT: Final = range(20_000, 32_000)


def is_free(port: int) -> bool:
    """Whether a server can bind `port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(taken: Collection[int] = (), count: int = 1) -> int:
    """The first of `count` consecutive free ports, none of them in `taken`. Random, so that two stacks seldom pick the same.

    Raises:
        StackFailed: there are none.
    """
    allowed = allowed_ports()
    firsts = range(allowed.start, allowed.stop - count + 1)
    for first in random.sample(firsts, min(1_000, len(firsts))):
        if all(port not in taken and is_free(port) for port in range(first, first + count)):
            return first
    raise StackFailed(
        f"no {count} free port(s) between {allowed.start} and {allowed[-1]}; set {_VARIABLE} to another range"
    )


def allowed_ports(environment: Mapping[str, str] = os.environ) -> range:
    """The range in `NOTIFY_STACK_PORTS` (``first-last``), by default 20000-31999.

    Raises:
        StackFailed: the variable is not a range of ports.
    """
    text = environment.get(_VARIABLE)
    if not text:
        return _DEFAULT
    found = re.fullmatch(r"(\d{1,5})-(\d{1,5})", text)
    ports = range(int(found[1]), int(found[2]) + 1) if found else range(0)
    if not ports or ports.start < 1 or ports.stop > 65_536:
        raise StackFailed(f"{_VARIABLE} is {text!r}; it must be the first and the last port, such as 20000-31999")
    return ports
