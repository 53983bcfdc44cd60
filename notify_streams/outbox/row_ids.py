"""Ids of outbox rows: `role:bucket:flush:number`."""

from __future__ import annotations

from typing import Final

_ROLE_END: Final = ":"
#: The character after `_ROLE_END`: an exclusive upper bound of everything that begins with it.
_AFTER: Final = ";"


def row_id(role: str, bucket: int, flush_id: str, number: int) -> str:
    """The `_id` of the `number`-th row of a flush."""
    return f"{role}{_ROLE_END}{bucket:06d}{_ROLE_END}{flush_id}{_ROLE_END}{number:05d}"


def backlog_range(role: str, bucket: int) -> dict[str, str]:
    """The `_id` range of all rows of a role and bucket."""
    start = f"{role}{_ROLE_END}{bucket:06d}"
    return {"$gte": start + _ROLE_END, "$lt": start + _AFTER}


def all_of_role(role: str) -> dict[str, str]:
    """The `_id` range of all rows of a role."""
    return {"$gte": role + _ROLE_END, "$lt": role + _AFTER}


def flush_of(identity: str) -> str:
    """The flush id of a row."""
    return identity.split(_ROLE_END)[2]


def may_be_relayed(identity: str, now_ms: int, older_than_ms: int) -> bool:
    """Whether a row is so old that its writer is not publishing it any more.

    Its time is that of another clock, or of before a step: it may lie in the future.
    """
    return abs(now_ms - created_ms(identity)) >= older_than_ms


def created_ms(identity: str) -> int:
    """When a row was written, by its writer's clock: milliseconds since the epoch."""
    return int(flush_of(identity)[:16], 16) // 1_000_000
