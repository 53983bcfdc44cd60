"""Encodes choices as a row: a LEB128 version, two bytes for each category.

The two bytes are the category's number and its choices: two bits for each channel in `roles.CHANNELS`, 0 unset, 1 in, 2 out. Choices in
three categories take 7 to 9 bytes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from notify_streams.roles import CHANNELS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from notify_streams.roles import Channel

UNSET: Final = 0
IN: Final = 1
OUT: Final = 2

#: The row of a user who never chose anything.
EMPTY_ROW: Final = b"\0"
#: The highest version that MongoDB holds, and the longest row with it: one of all numbers of categories.
_MAX_VERSION: Final = 2**63 - 1
_MAX_BYTES: Final = 9 + 2 * 256
_SHIFT: Final = {channel: 2 * index for index, channel in enumerate(CHANNELS)}


def encode_row(version: int, choices: Mapping[int, Mapping[Channel, bool]]) -> bytes:
    """`choices`: category number → channel → opted in."""
    row = bytearray()
    rest = version
    while rest >= 0x80:
        row.append(rest & 0x7F | 0x80)
        rest >>= 7
    row.append(rest)
    for number in sorted(choices):
        bits = 0
        for channel, opted_in in choices[number].items():
            bits |= (IN if opted_in else OUT) << _SHIFT[channel]
        row += bytes((number, bits))
    return bytes(row)


def decode_row(row: bytes) -> tuple[int, dict[int, int]]:
    """The version, and category number → choice bits (`choice_of`)."""
    version = shift = at = 0
    while True:
        byte = row[at]
        at += 1
        version |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    return version, dict(zip(row[at::2], row[at + 1 :: 2], strict=True))


#: `decode_row` for the hot path: many users have equal rows. The result is shared and must not be changed.
cached_decode_row = lru_cache(maxsize=1 << 16)(decode_row)


def choice_of(choice_bits: int, channel: Channel) -> int:
    """`UNSET`, `IN` or `OUT`."""
    return choice_bits >> _SHIFT[channel] & 3


def choice_in(row: bytes, number: int, channel: Channel) -> int:
    """The choice for a channel of the category with this number: `UNSET`, `IN` or `OUT`."""
    return choice_of(cached_decode_row(row)[1].get(number, UNSET), channel)


def version_of(row: bytes) -> int:
    """The row's version; 0 for `EMPTY_ROW`."""
    byte = row[0]
    return byte if byte < 0x80 else decode_row(row)[0]


def newer_row(one: bytes, other: bytes) -> bytes:
    """The row with the higher version; `one` if they are equal. Rows of one user with the same version are the same."""
    return one if version_of(one) >= version_of(other) else other


def newest_row(
    row_of: Callable[[int, bytes], bytes | None],
) -> Callable[[bytes, bytes | None, int], tuple[bytes, bytes | None] | None]:
    """A decoder of the table `preferences`: leaves out rows that are invalid, or older than the table's row (`row_of`)."""

    def decode(key: bytes, value: bytes | None, partition: int) -> tuple[bytes, bytes | None] | None:
        if value is None:
            return key, None
        if len(value) > _MAX_BYTES:  # a version of many bytes takes quadratic time
            return None
        try:
            version, _ = decode_row(value)
        except (IndexError, ValueError):
            return None
        if version > _MAX_VERSION:
            return None
        held = row_of(partition, key)
        return (key, value) if held is None or version_of(held) <= version else None

    return decode
