"""Signed tokens of the links in mails and of preference pages.

A token is encrypted and signed (Fernet: AES-128-CBC, HMAC-SHA256), so a link shows no user id and cannot be made without a key. It does not
expire: a mail may be years old, and its link must still stop what it names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from notify_streams.errors import SettingsError
from notify_streams.records.base64url import from_base64url
from notify_streams.records.names import Name

if TYPE_CHECKING:
    from collections.abc import Iterable

#: A link with the longest names has less.
MAX_LENGTH: Final = 2048
_VERSION: Final = 1
_MAX_LOCALE: Final = 35


class Link(msgspec.Struct, frozen=True, gc=False):
    """What a token is for. `category` and `channel` are `user_records.ALL` in the token of a preference page."""

    user_id: str
    category: str
    channel: str
    #: Of the page that the link shows.
    locale: str


class _Content(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    version: Annotated[int, msgspec.Meta(ge=_VERSION, le=_VERSION)]
    user_id: Name
    category: Name
    channel: Name
    locale: Annotated[str, msgspec.Meta(min_length=1, max_length=_MAX_LOCALE)]


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Content).decode


class LinkTokens:
    """Makes tokens with the first key; reads those of all keys, so that keys can be replaced."""

    def __init__(self, keys: Iterable[str]) -> None:
        """`keys`: each 32 bytes as base64url, as `Fernet.generate_key` makes them.

        Raises:
            SettingsError: there is none, or one is not such a key.
        """
        try:
            self._fernet = MultiFernet([Fernet(key.strip()) for key in keys])
        except ValueError:
            raise SettingsError(
                "a link key must be 32 bytes as base64url: create one with"
                ' `python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"`'
            ) from None

    def make(self, user_id: str, category: str, channel: str, locale: str) -> str:
        """A token of letters, digits, ``-`` and ``_``; another one at each call."""
        content = _encode(_Content(_VERSION, user_id, category, channel, locale))
        return self._fernet.encrypt(content).rstrip(b"=").decode()

    def read(self, token: str) -> Link | None:
        """What the token is for; None if it was not made with one of the keys. Takes time linear in the length."""
        if not 0 < len(token) <= MAX_LENGTH or token.endswith("="):
            return None
        try:
            from_base64url(token)  # Fernet ignores characters that are not base64: only one text may be the token
            found = _decode(self._fernet.decrypt(token + "=" * (-len(token) % 4)))
        except (ValueError, InvalidToken, msgspec.MsgspecError):
            return None
        return Link(found.user_id, found.category, found.channel, found.locale)
