"""The keyed hash that stands for a person who was erased."""

from __future__ import annotations

from typing import Final

from notify_streams.records.keyed_hash import keyed_hash

_PREFIX: Final = "person:"


def person_hash(key: bytes, user_id: str) -> str:
    """``person:`` and the hash of the user id."""
    return _PREFIX + keyed_hash(key, _PREFIX + user_id)
