"""Ids of addresses: a keyed hash instead of the address.

The choices about an address (stopped, complained, bounced) are kept under this id in the way of a user's choices.
"""

from __future__ import annotations

from typing import Final

from notify_streams.records.addresses import mailbox
from notify_streams.records.keyed_hash import keyed_hash

#: No user's id may begin so.
ADDRESS_PREFIX: Final = "address:"


def is_address_id(user_id: str) -> bool:
    """Whether this is the id of an address, not of a person."""
    return user_id.startswith(ADDRESS_PREFIX)


def address_id(key: bytes, channel: str, address: str) -> str:
    """``address:<channel>:<keyed hash of the normalized address>``.

    Of a mail address upper and lower case are the same here: no mail provider in use gives two people such addresses.
    """
    normalized = address.strip()
    if channel == "email":
        normalized = (mailbox(normalized) or normalized).lower()
    return f"{ADDRESS_PREFIX}{channel}:{keyed_hash(key, normalized)}"
