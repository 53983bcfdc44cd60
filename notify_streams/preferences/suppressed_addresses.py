"""Suppressed addresses: nothing may be sent to them, whatever the category.

They are phone numbers and mail addresses. Each has a preference record of its own under its id (`records.address_ids`). In place of
categories it has the reasons below, each with a reserved number: opted out means suppressed for that reason, opted in that the reason was
taken back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, cast

from notify_streams.preferences.row_codec import EMPTY_ROW, OUT, cached_decode_row, choice_of
from notify_streams.records.address_ids import address_id
from notify_streams.records.outcomes import Reason
from notify_streams.records.partitioner import bucket_of

if TYPE_CHECKING:
    from notify_streams.roles import Channel

#: Why an address is suppressed: a `Reason`.
SuppressionReason = Literal["stopped", "complaint", "bounced"]
#: The highest number of a category in ``categories.yaml``.
MAX_CATEGORY_NUMBER: Final = 239
#: Reason (also the category's name in updates and in the history) → number in the preference record.
SUPPRESSION_NUMBERS: Final[dict[SuppressionReason, int]] = {"stopped": 240, "complaint": 241, "bounced": 242}
SUPPRESSION_REASONS: Final = {number: Reason(reason) for reason, number in SUPPRESSION_NUMBERS.items()}


def number_of(reason: str) -> int:
    """The number of a reason.

    Raises:
        KeyError: it is none for which an address is suppressed.
    """
    return SUPPRESSION_NUMBERS[cast("SuppressionReason", reason)]


class AddressIds:
    """The ids of addresses and their buckets, with one key."""

    def __init__(self, key: bytes, partitions: int) -> None:
        """`key`: `public.address_key`."""
        self._key = key
        self._partitions = partitions

    def of(self, channel: Channel, address: str) -> str:
        return address_id(self._key, channel, address)

    def bucket_of(self, identity: str) -> int:
        return bucket_of(identity, self._partitions)


def suppression_in(row: bytes, channel: Channel) -> Reason | None:
    """Why nothing may be sent to the address with this row; None if messages may be."""
    if row == EMPTY_ROW:
        return None
    choices = cached_decode_row(row)[1]
    for number, reason in SUPPRESSION_REASONS.items():
        if choice_of(choices.get(number, 0), channel) == OUT:
            return reason
    return None
