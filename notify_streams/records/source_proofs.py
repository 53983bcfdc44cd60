"""Proofs that this system, and no client, says by which way a choice was made.

Clients and this system write to `preference_updates`, and a client can write any header. So a record of this system with a source that only
it may name has the HMAC-SHA256 of its value in a header. The key is the setting `public.address_key`, which all regions share.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams.records.choice_sources import ChoiceSource

if TYPE_CHECKING:
    from notify_streams.records.batch import Headers, SourceRecord
    from notify_streams.records.user_records import PreferenceUpdate
    from notify_streams.secret import Secret

PROOF: Final = "source_proof"
#: What any client may say of itself.
_UNPROVED: Final = frozenset((ChoiceSource.APP, ChoiceSource.API, ChoiceSource.IMPORT, ChoiceSource.CLI))
#: The key has other uses.
_PURPOSE: Final = b"preference_updates:"


class SourceProofs:
    """Writes and checks proofs. Without a key there are none."""

    def __init__(self, key: Secret | None) -> None:
        self._key = key

    def headers(self, update: PreferenceUpdate, value: bytes, others: Headers = ()) -> Headers:
        """`others`, and the proof if the update needs one; `value` is the encoded update."""
        if self._key is None or update.source in _UNPROVED:
            return others
        return [*(one for one in others if one[0] != PROOF), (PROOF, _proof(self._key, value))]

    def checked(self, update: PreferenceUpdate, record: SourceRecord) -> PreferenceUpdate:
        """The update that was read from `record`; with the source `app` if it names one that only this system may, without a proof."""
        if update.source in _UNPROVED or self._is_proved(record):
            return update
        return msgspec.structs.replace(update, source=ChoiceSource.APP)

    def _is_proved(self, record: SourceRecord) -> bool:
        if self._key is None:
            return False
        expected = _proof(self._key, record.value or b"")
        return any(
            name == PROOF and hmac.compare_digest(content or b"", expected) for name, content in record.headers or ()
        )


def _proof(key: Secret, value: bytes) -> bytes:
    return hmac.digest(key.reveal().encode(), _PURPOSE + value, "sha256").hex().encode()
