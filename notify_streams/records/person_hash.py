"""The keyed hash that stands for a person who was erased.

Without the key it cannot be found out whom it stands for, or try names; with it the same person gives the same hash in every region.
"""

from __future__ import annotations

import hmac
from typing import Final

_PREFIX: Final = "person:"
_HEX_DIGITS: Final = 32


def person_hash(key: bytes, user_id: str) -> str:
    """``person:`` and 128 bits of the HMAC-SHA256 of the user id, in hexadecimal. `key`: the setting `public.address_key`."""
    digest = hmac.digest(key, f"{_PREFIX}{user_id}".encode(), "sha256")
    return _PREFIX + digest.hex()[:_HEX_DIGITS]
