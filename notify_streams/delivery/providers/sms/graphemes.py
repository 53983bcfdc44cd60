"""Splits a text into graphemes as Twilio's segment calculator does.

The rules are those of UAX #29 for Unicode 10 (https://www.unicode.org/reports/tr29/tr29-31.html), with the deviations of the package
grapheme-splitter 1.0.4, which the calculator uses. `devtools/npm.py` fetches both for a test.
"""

from __future__ import annotations

import re
from typing import Final

from notify_streams.delivery.providers.sms.break_classes import JOINING, BreakClass, break_class

_CONTROL, _EXTEND, _PREPEND, _ZWJ = BreakClass.CONTROL, BreakClass.EXTEND, BreakClass.PREPEND, BreakClass.ZWJ
_RI: Final = BreakClass.REGIONAL_INDICATOR
_E_BASES: Final = frozenset((BreakClass.E_BASE, BreakClass.E_BASE_GAZ))
_AFTER_ZWJ: Final = frozenset((BreakClass.GLUE_AFTER_ZWJ, BreakClass.E_BASE_GAZ))
#: GB9, GB9a
_CONTINUING: Final = frozenset((_EXTEND, _ZWJ, BreakClass.SPACING_MARK))
#: GB6 to GB8: class → the classes that continue its syllable
_HANGUL: Final = {
    BreakClass.L: frozenset((BreakClass.L, BreakClass.V, BreakClass.LV, BreakClass.LVT)),
    BreakClass.LV: frozenset((BreakClass.V, BreakClass.T)),
    BreakClass.V: frozenset((BreakClass.V, BreakClass.T)),
    BreakClass.LVT: frozenset((BreakClass.T,)),
    BreakClass.T: frozenset((BreakClass.T,)),
}
_NONE: Final[frozenset[BreakClass]] = frozenset()

_has_joining = re.compile(JOINING).search


def grapheme_sizes(text: str) -> list[int]:
    """The UTF-16 code units of each grapheme. CR LF are two."""
    if _has_joining(text) is None:
        return [1 if letter < "\U00010000" else 2 for letter in text]
    sizes: list[int] = []
    # What the rules ask of the grapheme so far is kept, not its classes: it may be as long as the text.
    before = previous = _CONTROL
    length, second_is_ri, has_extend = 0, False, False
    for letter in text:
        code = ord(letter)
        found = break_class(code)
        units = 1 if code < 0x10000 else 2
        if length and _joins(found, previous, before, length, second_is_ri, has_extend):
            sizes[-1] += units
            length += 1
            second_is_ri = second_is_ri or (length == 2 and found is _RI)
            has_extend = has_extend or found is _EXTEND
        else:
            sizes.append(units)
            length, second_is_ri, has_extend = 1, False, found is _EXTEND
        before, previous = previous, found
    return sizes


def _joins(
    found: BreakClass, previous: BreakClass, before: BreakClass, length: int, second_is_ri: bool, has_extend: bool
) -> bool:
    """Whether a character continues the grapheme before it.

    Args:
        before: the class of the last but one character; of this grapheme if `length` is at least 2.
        second_is_ri: the grapheme's second character is a regional indicator.
        has_extend: the grapheme has a character of the class EXTEND.
    """
    # GB4, GB5
    if previous is _CONTROL or found is _CONTROL:
        return False
    # Deviates: after the second of two regional indicators only one more character continues.
    if second_is_ri and previous is not _RI and previous is not _PREPEND:
        return False
    if found in _CONTINUING or found in _HANGUL.get(previous, _NONE) or previous is _PREPEND:
        return True
    if found is BreakClass.E_MODIFIER:
        # GB10. Deviates: it needs the base directly before, or one EXTEND after the base, and no earlier EXTEND without the latter.
        if not has_extend:
            return previous in _E_BASES
        return previous is _EXTEND and length >= 2 and before in _E_BASES
    if previous is _ZWJ and found in _AFTER_ZWJ:
        return True
    # GB12, GB13
    return found is _RI and previous is _RI and length == 1
