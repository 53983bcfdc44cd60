"""Reads and writes the headers that records carry between regions.

A record's own headers are forwarded unchanged; the headers defined here are added, and replaced at each hop.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams import metrics
from notify_streams.records.user_records import MAX_COUNTER
from notify_streams.topics import (
    FORWARDED,
    PREFERENCE_UPDATES,
    RECEIPTS,
    USER_CONTACTS,
    USER_ERASURES,
    USER_LOCATIONS,
    USER_SIGNUPS,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.records.batch import Headers

log = logging.getLogger(__name__)

#: How often the record was forwarded from region to region.
HOPS: Final = "hops"
#: The region where the record entered.
ORIGIN: Final = "origin"
#: On `forward.<region>` only: the record's topic in that region.
TARGET: Final = "target"
#: Version of the user's location that the sender decided by.
VERSION: Final = "location_version"
#: Epoch of the user's home region (`failover.protocol`) that the sender decided by.
EPOCH: Final = "epoch"
#: The previous home region, which has checked that it did not notify this trigger before the user moved.
CLEARED: Final = "cleared_by"
#: On the sign-up of a move: the previous home region, which has handed over the user's contacts.
HANDED_OVER: Final = "handed_over_by"

#: For a count of hops that is too large.
_MAX_HOPS: Final = 100
#: Of a trigger: the upstream system on whose topic it entered, which is a part of its identity.
SYSTEM: Final = "system"
_MAX_SYSTEM: Final = 128

_FORWARDING: Final = frozenset((HOPS, ORIGIN, TARGET, VERSION, EPOCH, CLEARED, HANDED_OVER, SYSTEM))

#: The topics that regions write for one another.
TARGET_TOPICS: Final = (
    FORWARDED,
    USER_LOCATIONS,
    USER_SIGNUPS,
    USER_CONTACTS,
    USER_ERASURES,
    PREFERENCE_UPDATES,
    RECEIPTS,
)
_TARGETS: Final = {topic.encode(): topic for topic in TARGET_TOPICS}
_MAX_DIGITS: Final = len(str(MAX_COUNTER))
_TRIGGERS: Final = (TARGET, FORWARDED.encode())


class ForwardingHeaders(msgspec.Struct, frozen=True, gc=False):
    """The forwarding headers of a record; the defaults are those of a record that was not forwarded."""

    hops: int = 0
    origin: str | None = None
    location_version: int = 0
    epoch: int = 0
    cleared_by: str | None = None
    handed_over_by: str | None = None
    system: str | None = None


NOT_FORWARDED: Final = ForwardingHeaders()


def read_forwarding_headers(headers: Headers) -> ForwardingHeaders:
    """The forwarding headers among `headers`. A number that is invalid or too large counts as 0; too many hops stay too many."""
    found = {name: content for name, content in headers if name in _FORWARDING} if headers else None
    if not found:
        return NOT_FORWARDED
    return ForwardingHeaders(
        _number(HOPS, found, too_large=_MAX_HOPS),
        _text(found.get(ORIGIN)),
        _number(VERSION, found),
        _number(EPOCH, found),
        _text(found.get(CLEARED)),
        _text(found.get(HANDED_OVER)),
        _text((found.get(SYSTEM) or b"")[:_MAX_SYSTEM]),
    )


def forwarded_headers(
    headers: Headers,
    here: str,
    target: str,
    *,
    location_version: int = 0,
    epoch: int = 0,
    cleared_by: str | None = None,
    handed_over_by: str | None = None,
    system: str | None = None,
) -> list[tuple[str, bytes]]:
    """The headers for the next hop: the record's own headers, then the forwarding headers with one hop more."""
    before = read_forwarding_headers(headers)
    added = [
        (HOPS, b"%d" % (before.hops + 1)),
        (ORIGIN, (before.origin or here).encode()),
        (TARGET, target.encode()),
    ]
    if location_version:
        added.append((VERSION, b"%d" % location_version))
    if epoch:
        added.append((EPOCH, b"%d" % epoch))
    if cleared_by or before.cleared_by:
        added.append((CLEARED, (cleared_by or before.cleared_by or "").encode()))
    if handed_over_by or before.handed_over_by:
        added.append((HANDED_OVER, (handed_over_by or before.handed_over_by or "").encode()))
    if before.system or system:
        added.append((SYSTEM, (before.system or system or "").encode()))
    return [header for header in headers if header[0] not in _FORWARDING] + added


def without_forwarding_headers(headers: Headers) -> Headers:
    """The headers of a record that entered here, without forwarding headers, which a client may have set."""
    if any(name in _FORWARDING for name, _ in headers):
        return [header for header in headers if header[0] not in _FORWARDING]
    return headers


def arrival_headers(headers: Headers) -> tuple[str, Sequence[tuple[str, bytes]]]:
    """The target topic of a record of `forward.<region>`, and the headers that it arrives with.

    Without a target, or with one that regions do not write, a record counts as a trigger. `forwarded_headers` writes one at most.
    """
    left = list(headers)
    try:
        left.remove(_TRIGGERS)  # most records; takes a third of the time of a look at each header
    except ValueError:
        target = next((header for header in headers if header[0] == TARGET), None)
        if target is not None:
            left.remove(target)
            return _TARGETS.get(target[1], FORWARDED), left
    return FORWARDED, left


def is_trigger(headers: Headers) -> bool:
    """Whether a record of `forward.<region>` is a trigger."""
    return _TRIGGERS in headers


def _number(name: str, headers: dict[str, bytes], too_large: int = 0) -> int:
    content = headers.get(name)
    if content is None:
        return 0
    digits = content.isdigit()
    if digits and len(content) <= _MAX_DIGITS and (number := int(content)) <= MAX_COUNTER:
        return number
    refuse_header(name)
    return too_large if digits else 0


def refuse_header(name: str) -> None:
    """Count and log a forwarding header that is ignored."""
    metrics.REJECTED_HEADERS.labels(name).inc()
    log.warning("forwarding header ignored", extra={"action": "forwarding_header.ignore", "header": name})


def _text(content: bytes | None) -> str | None:
    return content.decode("utf-8", "replace") if content else None
