"""What a record carries from region to region: its headers, read and written. Bytes and values; no I/O.

A record's own headers travel with it unchanged; those here are added, and replaced at each hop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams.topics import FORWARDED, PREFERENCE_UPDATES, USER_CONTACTS, USER_LOCATIONS, USER_SIGNUPS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.records.batch import Headers

#: How often the record crossed from region to region.
HOPS: Final = "hops"
#: The region where it entered.
ORIGIN: Final = "origin"
#: On `forward.<region>` alone: the topic that it is for over there.
TARGET: Final = "target"
#: Version of the person's location that the sender went by.
VERSION: Final = "location_version"
#: Epoch of the person's home (`regions.control`) that the sender went by.
EPOCH: Final = "epoch"
#: The old home of a person who moved: it has looked, and did not notify this trigger before.
CLEARED: Final = "cleared_by"
#: On a move's sign-up: the old home that has handed over what it knew of the person.
HANDED_OVER: Final = "handed_over_by"

_OURS: Final = frozenset((HOPS, ORIGIN, TARGET, VERSION, EPOCH, CLEARED, HANDED_OVER))


#: The topics that regions write for one another.
_TARGETS: Final = {
    topic.encode(): topic for topic in (FORWARDED, USER_LOCATIONS, USER_SIGNUPS, USER_CONTACTS, PREFERENCE_UPDATES)
}
_TRIGGERS: Final = (TARGET, FORWARDED.encode())


class ForwardingHeaders(msgspec.Struct, frozen=True, gc=False):
    """A record's way so far; the default is one that entered here."""

    hops: int = 0
    origin: str | None = None
    location_version: int = 0
    epoch: int = 0
    cleared_by: str | None = None
    handed_over_by: str | None = None


NOT_FORWARDED: Final = ForwardingHeaders()


def read_forwarding_headers(headers: Headers) -> ForwardingHeaders:
    """The way that the headers tell. Numbers that are none count as 0: any client may write headers."""
    found = {name: content for name, content in headers if name in _OURS} if headers else None
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
    """The headers for the next hop: the record's own ones, then its way with one hop more."""
    travel = read_forwarding_headers(headers)
    added = [
        (HOPS, b"%d" % (travel.hops + 1)),
        (ORIGIN, (travel.origin or here).encode()),
        (TARGET, target.encode()),
    ]
    if location_version:
        added.append((VERSION, b"%d" % location_version))
    if epoch:
        added.append((EPOCH, b"%d" % epoch))
    if cleared_by or travel.cleared_by:
        added.append((CLEARED, (cleared_by or travel.cleared_by or "").encode()))
    if handed_over_by or travel.handed_over_by:
        added.append((HANDED_OVER, (handed_over_by or travel.handed_over_by or "").encode()))
    return [header for header in headers if header[0] not in _OURS] + added


def without_forwarding_headers(headers: Headers) -> Headers:
    """The headers of a record that entered here, without those that only regions may write: any client may have set them."""
    if any(name in _OURS for name, _ in headers):
        return [header for header in headers if header[0] not in _OURS]
    return headers


def arrival_headers(headers: Headers) -> tuple[str, Sequence[tuple[str, bytes]]]:
    """Where a record of `forward.<region>` goes over there, and the headers that it arrives with.

    Triggers are the default. A target that no region writes to another one counts as none. `forwarded_headers` writes one at most.
    """
    left = list(headers)
    try:
        left.remove(_TRIGGERS)  # nearly all of them; a third of what looking at each header takes
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
