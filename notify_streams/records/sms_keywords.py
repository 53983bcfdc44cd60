"""Words that people send to a number by SMS: stop, start, help.

The words are those of Twilio, of AWS (https://docs.aws.amazon.com/sns/latest/dg/sms_manage.html, French ones among them), of the carriers'
handbooks (CTIA Messaging Principles, §5.1.3) and of 47 CFR § 64.1200(a)(10); the German ones mean the same. A provider sends nothing more to
a number that wrote one of its own, so we must know it as well.
"""

from __future__ import annotations

import unicodedata
from enum import StrEnum
from typing import Final


class Keyword(StrEnum):
    """What the sender of a text message wants."""

    #: No message to this number any more, of any category.
    STOP = "stop"
    #: Take the stop back.
    START = "start"
    HELP = "help"


_WORDS: Final = {
    **dict.fromkeys(
        (
            *("stop", "stopall", "unsubscribe", "cancel", "end", "quit", "revoke", "optout", "remove"),
            *("arret", "arrêt", "td", "stopp", "abmelden"),
        ),
        Keyword.STOP,
    ),
    **dict.fromkeys(("start", "yes", "unstop"), Keyword.START),
    **dict.fromkeys(("help", "info"), Keyword.HELP),
}
#: Of a text with blanks and punctuation.
_MAX_LENGTH: Final = 160


def keyword_of(text: str) -> Keyword | None:
    """The keyword that is the whole text, whatever its case, blanks and punctuation; None if there are other words."""
    if len(text) > _MAX_LENGTH:
        return None
    plain = unicodedata.normalize("NFKC", text).casefold()
    return _WORDS.get("".join(filter(str.isalnum, plain)))
