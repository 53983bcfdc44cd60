"""A person's choices as a few bytes: an unsigned LEB128 version, then two bytes for each category that the person touched.

The pair is the category's number and, for each channel in `roles.CHANNELS`, two bits: 0 unset, 1 in, 2 out. A person who chose something in
three categories costs 7 to 9 bytes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from notify_streams.roles import CHANNELS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from notify_streams.roles import Channel

UNSET: Final = 0
IN: Final = 1
OUT: Final = 2

#: Nobody chose anything: what a person without a row has.
NOTHING: Final = b"\0"
_SHIFT: Final = {channel: 2 * place for place, channel in enumerate(CHANNELS)}


def compile_row(version: int, choices: Mapping[int, Mapping[Channel, bool]]) -> bytes:
    """Choices (category number -> channel -> opted in) as a row."""
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


def read_row(row: bytes) -> tuple[int, dict[int, int]]:
    """The row's version and, by category number, the bits (see `choice`)."""
    version = shift = at = 0
    while True:
        byte = row[at]
        at += 1
        version |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    return version, dict(zip(row[at::2], row[at + 1 :: 2], strict=True))


def choice(bits: int, channel: Channel) -> int:
    """`UNSET`, `IN` or `OUT`."""
    return bits >> _SHIFT[channel] & 3


def version_of(row: bytes) -> int:
    """The row's version; 0 for `NOTHING`."""
    byte = row[0]
    return byte if byte < 0x80 else read_row(row)[0]


def newest(one: bytes, other: bytes) -> bytes:
    """The row with the higher version; of two rows of one person with the same version it does not matter which."""
    return one if version_of(one) >= version_of(other) else other


def newer_rows(rows: Mapping[bytes, bytes], held: Sequence[bytes | None]) -> dict[bytes, bytes]:
    """Those of `rows` that a table must take: not older than the row it holds. `held` is in the order of `rows`."""
    return {
        key: row
        for (key, row), before in zip(rows.items(), held, strict=True)
        if before is None or newest(row, before) is row
    }


#: `read_row` for the hot path: people's rows repeat. The result is shared: do not change it.
decode_row = lru_cache(maxsize=1 << 16)(read_row)


def bits_of(row: bytes, number: int) -> int:
    """The choices in the category with this number."""
    return decode_row(row)[1].get(number, UNSET)
