"""Reads and writes the headers that records carry between regions.

A record's own headers are forwarded unchanged; the headers defined here are added, and replaced at each hop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams.topics import FORWARDED, PREFERENCE_UPDATES, USER_CONTACTS, USER_LOCATIONS, USER_SIGNUPS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.records.batch import Headers

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

_FORWARDING: Final = frozenset((HOPS, ORIGIN, TARGET, VERSION, EPOCH, CLEARED, HANDED_OVER))

#: The topics that regions write for one another.
_TARGETS: Final = {
    topic.encode(): topic for topic in (FORWARDED, USER_LOCATIONS, USER_SIGNUPS, USER_CONTACTS, PREFERENCE_UPDATES)
}
_TRIGGERS: Final = (TARGET, FORWARDED.encode())


class ForwardingHeaders(msgspec.Struct, frozen=True, gc=False):
    """The forwarding headers of a record; the defaults are those of a record that was not forwarded."""

    hops: int = 0
    origin: str | None = None
    location_version: int = 0
    epoch: int = 0
    cleared_by: str | None = None
    handed_over_by: str | None = None


NOT_FORWARDED: Final = ForwardingHeaders()


def read_forwarding_headers(headers: Headers) -> ForwardingHeaders:
    """The forwarding headers among `headers`. An invalid number counts as 0: any client may write headers."""
    found = {name: content for name, content in headers if name in _FORWARDING} if headers else None
    if not found:
        return NOT_FORWARDED
    return ForwardingHeaders(
        _number(found.get(HOPS)),
        _text(found.get(ORIGIN)),
        _number(found.get(VERSION)),
        _number(found.get(EPOCH)),
        _text(found.get(CLEARED)),
        _text(found.get(HANDED_OVER)),
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


def _number(content: bytes | None) -> int:
    return int(content) if content is not None and content.isdigit() and len(content) < 19 else 0


def _text(content: bytes | None) -> str | None:
    return content.decode("utf-8", "replace") if content else None
