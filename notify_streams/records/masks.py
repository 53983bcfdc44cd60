"""Addresses as people who look for an error may see them: never whole."""

from __future__ import annotations

from typing import Final

from notify_streams.records.devices import token_sha

#: Stands for what is hidden. In a stored mask it is `_SHORT`.
HIDDEN: Final = "•••"
_SHORT: Final = "*"
_MIN_DIGITS: Final = 7


def masked(channel: str, address: str) -> str:
    """The short form, as it is stored: `+1*42`, `a*@example.org`; of a push token the beginning of its hash (`token_sha`)."""
    if channel == "sms":
        return f"{address[:2]}{_SHORT}{address[-2:]}" if len(address) >= _MIN_DIGITS else _SHORT
    if channel == "email":
        local, at, domain = address.rpartition("@")
        return f"{local[:1] if len(local) > 1 else ''}{_SHORT}{at}{domain}"
    return token_sha(address)


def shown_mask(mask: str) -> str:
    """The same for people: `+1•••42`, `a•••@example.org`."""
    return mask.replace(_SHORT, HIDDEN, 1)
