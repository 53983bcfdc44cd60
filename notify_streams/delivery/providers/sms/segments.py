"""The encoding of an SMS and the number of its segments.

3GPP TS 23.038 §6.2.1 (the alphabets) and TS 23.040 §9.2.3.24.1 (concatenation); segments as Twilio's calculator counts them:
https://www.twilio.com/docs/glossary/what-sms-character-limit, https://www.npmjs.com/package/sms-segments-calculator.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from notify_streams.delivery.providers.sms.graphemes import grapheme_sizes

if TYPE_CHECKING:
    from collections.abc import Iterable

#: TS 23.038 §6.2.1, the default alphabet without ESC
_BASIC: Final = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
#: §6.2.1.1, the extension table: each is sent as ESC and one more septet
_EXTENDED: Final = "\f^{}\\[~]|€"
_is_gsm7 = re.compile(f"[{re.escape(_BASIC + _EXTENDED)}]*").fullmatch
_extended = re.compile(f"[{re.escape(_EXTENDED)}]").search

#: units of one segment without and with the header of concatenated ones (6 octets): septets of GSM-7, 16 bits of UCS-2
_GSM7_UNITS: Final = (160, 153)
_UCS2_UNITS: Final = (70, 67)


class SmsSize(NamedTuple):
    """What an SMS takes."""

    encoding: Literal["GSM-7", "UCS-2"]
    #: septets or 16-bit units, without headers
    units: int
    segments: int


def sms_size(text: str) -> SmsSize:
    """The size of `text`, in time linear in its length. An empty text has one segment.

    No segment ends within a character of the extension table, a surrogate pair or a grapheme.
    """
    if _is_gsm7(text):
        sizes = [2 if letter in _EXTENDED else 1 for letter in text] if _extended(text) else [1] * len(text)
        return SmsSize("GSM-7", *_segments(sizes, *_GSM7_UNITS))
    return SmsSize("UCS-2", *_segments(grapheme_sizes(text), *_UCS2_UNITS))


def _segments(sizes: list[int], alone: int, concatenated: int) -> tuple[int, int]:
    """Units and segments of indivisible parts."""
    units = sum(sizes)
    if units <= alone:
        return units, 1
    # The calculator fills the first segment without a header. When a part does not fit, it moves what the header displaces into the second
    # segment, and that part too, without a check of their size.
    used = kept = 0
    rest = iter(sizes)
    for size in rest:
        used += size
        if used > alone:
            break
        if used <= concatenated:
            kept = used
    return units, 2 + _further(rest, used - kept, concatenated)


def _further(sizes: Iterable[int], used: int, limit: int) -> int:
    """How many segments follow one with `used` units."""
    count = 0
    for size in sizes:
        used += size
        if used > limit:
            count, used = count + 1, size
    return count
