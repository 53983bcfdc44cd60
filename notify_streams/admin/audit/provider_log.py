"""Reads the provider log: a JSON line for each accepted message, no contacts."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from notify_streams.field_errors import DECODE_ERRORS

log = logging.getLogger(__name__)


class AcceptedMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One accepted message."""

    #: Unix seconds: when the request began to arrive
    at: float
    #: Unix seconds: when it was accepted
    done: float
    #: fcm, apns, web_push, twilio or smtp
    provider: str
    #: push, sms or email
    channel: str
    delivery_id: str
    notification_id: str
    #: 0: the client did not say
    attempt: int
    #: the client marked it as one that may have been accepted before
    possible_duplicate: bool
    critical: bool
    #: see `contact_sha`
    to_sha: str
    #: as the client wrote it, if it did; ours write Unix milliseconds
    decided_at: str | None = None
    #: not in the file: the offset of the line that follows, at which `read_provider_log` can be resumed
    resume_at: int = 0


def contact_sha(contact: str) -> str:
    """Replaces a contact in the log: the first 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(contact.encode()).hexdigest()[:16]


def log_invalid_line(resume_at: int) -> None:
    """Say where an invalid line of a provider log ends. The line is not repeated: it may have a contact."""
    log.warning(
        "a line of the provider log is not valid and was left out",
        extra={"action": "provider_log.invalid_line", "ends_at": resume_at},
    )


def read_provider_log(
    path: Path | str, offset: int = 0, on_invalid: Callable[[int], None] = log_invalid_line
) -> Iterator[AcceptedMessage]:
    """The accepted messages from `offset` on, in the order of acceptance; none if there is no file yet.

    A last line without a line end is still being written and left for the next call.

    Another line that is not valid is left out.

    Args:
        on_invalid: called for each with the offset of the line that follows.
    """
    decode = msgspec.json.Decoder(AcceptedMessage).decode
    if not Path(path).exists():
        return
    with Path(path).open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            try:
                accepted = decode(line)
            except DECODE_ERRORS:
                on_invalid(offset)
                continue
            # The record is not shared yet; a copy would double the cost of a line.
            msgspec.structs.force_setattr(accepted, "resume_at", offset)
            yield accepted
