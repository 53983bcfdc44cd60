"""How far a forwarded trigger has come: two headers that travel with the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

#: A trigger is forwarded at most this often: once to a home that has just moved on, once more to the new one.
MAX_HOPS: Final = 2
HOPS: Final = "hops"
ORIGIN: Final = "origin"


def hops_of(headers: Sequence[tuple[str, bytes | None]]) -> int:
    """How often the record was forwarded; what cannot be read counts as never."""
    for name, content in headers:
        if name == HOPS and content is not None and content.isdigit() and len(content) < 4:
            return int(content)
    return 0


def onward(headers: Sequence[tuple[str, bytes]], hops: int, region: str) -> tuple[tuple[str, bytes], ...]:
    """The headers for one hop more; the first region that forwarded it stays its origin."""
    kept = tuple(header for header in headers if header[0] != HOPS)
    if not any(name == ORIGIN for name, _ in kept):
        kept += ((ORIGIN, region.encode()),)
    return (*kept, (HOPS, b"%d" % (hops + 1)))
