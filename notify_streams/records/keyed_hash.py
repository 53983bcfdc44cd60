"""The keyed hash under which an address or an erased person is kept.

Without the key it cannot be found out what it stands for, nor by trying names; with it the same text gives the same hash in every region.
"""

from __future__ import annotations

import hmac
from typing import Final

_HEX_DIGITS: Final = 32


def keyed_hash(key: bytes, text: str) -> str:
    """128 bits of the HMAC-SHA256, in hexadecimal. `key`: the setting `public.address_key`."""
    return hmac.digest(key, text.encode(errors="surrogatepass"), "sha256").hex()[:_HEX_DIGITS]
