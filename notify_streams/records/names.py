"""Rules for ids, which all stores and providers keep unchanged, and data names."""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec

MAX_LENGTH: Final = 128

#: An id or a name, before `name_fault`.
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_LENGTH)]

#: Begins the names of everything that this system adds to a message for the provider.
MARK_PREFIX: Final = "notify_"
#: FCM's reserved names of data: https://firebase.google.com/docs/cloud-messaging/concept-options#data_messages
#: `aps` is Apple's dictionary in the payload of APNs.
_RESERVED: Final = frozenset(("from", "message_type", "collapse_key", "aps"))
_RESERVED_PREFIXES: Final = (MARK_PREFIX, "google", "gcm")

#: Unicode categories Cc, Zl, Zp and Cs.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def name_fault(field: str, text: str) -> str | None:
    """What is wrong with the id or name `text` of `field`, in a sentence without the text; None if it is right."""
    if text.strip() == text and (text.isprintable() or not _CONTROL.search(text)):
        return None
    return f"`{field}` has a control character, a line separator, or a blank at its beginning or end"


def is_reserved(name: str) -> bool:
    """Whether a trigger's data may not use `name`, because FCM, APNs or this system does."""
    return name in _RESERVED or name.startswith(_RESERVED_PREFIXES)
