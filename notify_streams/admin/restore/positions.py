"""Where the ledgers of a restored region go on. No I/O.

Two cases. *Kafka was kept*: its topics have what was written after the backup, so a ledger goes on where the backup left it, and what
follows is decided again. *Kafka is new*: offsets begin at 0, so every ledger goes on at the first record, and `first_offset` moves by as
much as `next_offset`. So the sums of the books close as before, and what was counted stays counted.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from notify_streams.delivery.delivery_ledger import Restored, pack_seen, restored_fields
from notify_streams.records.ids import new_flush_id
from notify_streams.roles import CHANNEL_ROLES, lane_of
from notify_streams.stores.sealed_sums import counts_of, sealed_document

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from notify_streams.admin.audit.snapshot import Extent
    from notify_streams.stores.mongo import Document

#: Older than any owner of a ledger, so that any worker may take it over.
_NO_OWNER_SINCE: Final = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Reopened:
    """How one ledger goes on."""

    next_offset: int
    #: How far the position moves: below 0 in a new Kafka, above it where records are left out.
    shift: int
    #: Records in Kafka that will be read.
    unread: int

    @property
    def left_out(self) -> int:
        """Records that are left out, because they are older than the operator wants."""
        return max(0, self.shift)


def reopened(position: int, extent: Extent, *, is_new: bool, since: int | None = None) -> Reopened:
    """Where a ledger at `position` goes on.

    Args:
        since: leave out what lies before this offset.
    """
    moved = extent.first if is_new else min(position, extent.end)
    if since is not None:
        moved = max(moved, min(since, extent.end))
    return Reopened(moved, moved - position, extent.end - max(moved, extent.first))


def decided_again(
    role: str, partition: int, positions: Mapping[tuple[str, str, int], int], extents: Mapping[tuple[str, int], Extent]
) -> dict[str, tuple[int, int]]:
    """For a channel role: trigger topic → the positions that its lane decides again. Without a ledger: all of them.

    Args:
        positions: of the ledgers in the backup, by role, topic and partition.
        extents: of the trigger topics.
    """
    again = {}
    for (topic, number), extent in extents.items():
        if number == partition:
            again[topic] = (positions.get((lane_of(role), topic, partition), extent.first), extent.end)
    return again


def reopening(
    ledger: Mapping[str, Any],
    found: Reopened,
    extent: Extent,
    *,
    restore: str,
    at: datetime,
    is_new: bool,
    again: Mapping[str, tuple[int, int]],
) -> Document:
    """The fields of a ledger document that change.

    Args:
        extent: of its topic and partition.
        again: see `decided_again`; empty in a new Kafka.
    """
    end = max(extent.end, found.next_offset)
    restored: Document = {
        "id": restore,
        "at": at,
        "is_new": is_new,
        "from": ledger["next_offset"],
        "left_out": found.left_out,
    }
    changed: Document = {
        "first_offset": ledger["first_offset"] + found.shift,
        "next_offset": found.next_offset,
        # A flush of a worker that survived the region does not find its own.
        "last_flush": new_flush_id(),
        "restored": restored,
    }
    if found.shift:
        # The two lanes were at different positions: they are compared from here on.
        changed["closed"] = {name: ledger[name] for name in ("taken", "other_lane") if name in ledger} | {
            "at": found.next_offset
        }
    if ledger["role"] in CHANNEL_ROLES:
        restored |= restored_fields(Restored(end, is_new, dict(again)))
        changed |= {
            "claimed_to": end,
            "token": {"generation": 0, "random": secrets.token_bytes(8), "at": _NO_OWNER_SINCE},
        }
        if is_new:
            changed["seen"] = pack_seen({})
    return changed


def closing_entry(
    ledger: Mapping[str, Any], changed: Mapping[str, Any], shift: int, partitions: int, now: datetime
) -> Document | None:
    """The sealed sums of a position that jumps by `shift`, so that the next period begins where this one ends. The open one is sealed.

    None: it stays, or the ledger never counted anything.
    """
    if not shift or not ledger.get("sealed_to"):
        return None
    return sealed_document({**ledger, **changed}, partitions, counts_of(ledger), now) | {"shift": shift}
