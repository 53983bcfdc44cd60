"""Ids of addresses: a keyed hash instead of the address.

The choices about an address (stopped, complained, bounced) are kept under this id in the way of a user's choices.
"""

from __future__ import annotations

import hmac
from typing import Final

from notify_streams.records.addresses import mailbox

#: No user's id may begin so.
ADDRESS_PREFIX: Final = "address:"
_HEX_DIGITS: Final = 32


def is_address_id(user_id: str) -> bool:
    """Whether this is the id of an address, not of a person."""
    return user_id.startswith(ADDRESS_PREFIX)


def address_id(key: bytes, channel: str, address: str) -> str:
    """``address:<channel>:<128 bits of the HMAC-SHA256 of the normalized address>``.

    Of a mail address upper and lower case are the same here: no mail provider in use gives two people such addresses.
    """
    normalized = address.strip()
    if channel == "email":
        normalized = (mailbox(normalized) or normalized).lower()
    digest = hmac.digest(key, normalized.encode(errors="surrogatepass"), "sha256").hex()
    return f"{ADDRESS_PREFIX}{channel}:{digest[:_HEX_DIGITS]}"
