"""Divides writes into parts that MongoDB takes in one command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Item = TypeVar("Item")

#: Limit of the documents of one command: half of the 16 MB that the driver sends.
COMMAND_BYTES: Final = 8 * 1024 * 1024


def command_parts(
    items: Sequence[Item], size_of: Callable[[Item], int], max_items: int | None = None
) -> Iterator[Sequence[Item]]:
    """The items, in their order, in parts of at most `COMMAND_BYTES` and `max_items`. One item may be larger alone."""
    first = size = 0
    for at, item in enumerate(items):
        length = size_of(item)
        if at > first and (size + length > COMMAND_BYTES or at - first == max_items):
            yield items[first:at]
            first, size = at, 0
        size += length
    if items:
        yield items[first:]
