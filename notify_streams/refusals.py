"""What services refuse this process: passwords, certificates, rights.

A refusal is not an outage: an operator must change something, so it is said in a sentence of its own, at the start, in the log and by
`/ready`. Repeating the call is right nevertheless: it succeeds once that is done.
"""

from __future__ import annotations

import logging
import re
import time
from threading import Lock
from typing import Final

log = logging.getLogger(__name__)

_CERTIFICATE: Final = re.compile(r"certificate verify failed: ([^(]{1,200})")
#: The server's words about the client's certificate.
_ALERT: Final = re.compile(r"ALERT_((?:BAD|UNSUPPORTED|UNKNOWN)_[A-Z_]+|CERTIFICATE_[A-Z]+|HANDSHAKE_FAILURE)")
_ALERT_TEXT: Final = re.compile(r"alert ((?:bad|unsupported|unknown|certificate|handshake) [a-z ]+)")
#: A call that is refused is repeated within this time.
_RECENT_S: Final = 30.0
_MAX_NOTED: Final = 50

_lock = Lock()
#: Sentence → when it was last true, on the monotonic clock.
_noted: dict[str, float] = {}


def note(service: str, sentence: str) -> None:
    """A call was refused. `sentence` says which service at which address, what is wrong and what to do; it is logged once a minute."""
    with _lock:
        _noted.pop(sentence, None)
        if len(_noted) >= _MAX_NOTED:
            del _noted[next(iter(_noted))]
        _noted[sentence] = time.monotonic()
    # `log` passes one line a minute of each `call`.
    log.error("a service refuses this process", extra={"action": "service.refused", "call": service, "error": sentence})


def recent() -> list[str]:
    """The sentences of the last half minute."""
    since = time.monotonic() - _RECENT_S
    with _lock:
        return sorted(sentence for sentence, at in _noted.items() if at >= since)


def certificate_problem(error: str, group: str) -> str | None:
    """What is wrong with a certificate, and what to do; None if the text of the error does not speak of one.

    Args:
        group: the settings of the service, as ``kafka_security``.
    """
    if found := _CERTIFICATE.search(error):
        problem = found[1].strip().rstrip(".")
        return f"has a certificate that is not accepted: {problem}: {_remedy(problem, group)}"
    if found := _ALERT.search(error) or _ALERT_TEXT.search(error):
        problem = found[1].lower().replace("_", " ").strip()
        return f"refuses the client's certificate ({problem}): check {group}.tls.certificate_file"
    return None


def _remedy(problem: str, group: str) -> str:
    if "expired" in problem:
        return "renew it at the server"
    if "mismatch" in problem:
        return "connect to a name that is in it, or give the server one with this name"
    if "not yet valid" in problem:
        return "check the clocks of both machines"
    return f"set {group}.tls.ca_file to the authority that signed it"
