"""The rule behind each delivery, from the choices that were in force then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from notify_streams.preferences.choices import EMPTY_RECORD, Choice
from notify_streams.preferences.consents import read_consents
from notify_streams.preferences.explanation import OF_ADDRESS, explain
from notify_streams.records.outcomes import Reason
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from collections.abc import Collection

    from notify_streams.preferences.categories import Categories
    from notify_streams.preferences.choices import PreferenceRecord
    from notify_streams.preferences.repository import PreferenceRepository
    from notify_streams.roles import Channel
    from notify_streams.stores.mongo import Document, Shards

#: Reasons that a user's choice explains.
_BY_CHOICE: Final = frozenset((Reason.OPTED_OUT, Reason.NOT_OPTED_IN, Reason.CHANNEL_NOT_ALLOWED))
#: Other reasons of a delivery for which no provider was called.
_NOT_CALLED: Final = OF_ADDRESS | {
    Reason.NO_CONTACT: "the person has no address for this channel",
    Reason.EXPIRED: "its time was over before it could be sent",
    Reason.TEST: "the trigger is a test: nothing is sent",
    Reason.ERASED: "the person was erased",
    Reason.SUPERSEDED: "a newer message with the same collapse key was sent before this one could be sent again",
    Reason.LOST: "its message was lost with Kafka, or left out when the region was restored from backups",
    Reason.RENDERING: "its text could not be made of the template and the data; nothing was sent",
    Reason.TOO_LARGE: "the text is larger than the provider takes; nothing was sent",
    Reason.BAD_ADDRESS: "the address is none that the provider takes; nothing was sent",
}


class PersonChoices:
    """The choices of people: what is in force now, and the history."""

    def __init__(self, shards: Shards, repository: PreferenceRepository, timeout_s: float) -> None:
        self._shards = shards
        self._repository = repository
        self._timeout_s = timeout_s
        self._found: dict[str, tuple[PreferenceRecord, list[Document]]] = {}

    async def load(self, bucket: int, user_ids: Collection[str]) -> None:
        """Read those of these people of a bucket that are not known yet.

        Raises:
            StoreUnavailable: the shard does not answer.
        """
        for user_id in set(user_ids) - self._found.keys():
            record = await self._repository.read(bucket, user_id)
            with mongo_call(f"the choices of bucket {bucket}", self._timeout_s):
                self._found[user_id] = record, await read_consents(self._shards, bucket, user_id)

    def of(self, user_id: str) -> tuple[PreferenceRecord, list[Document]]:
        """The record of now, and the history in the order of versions."""
        return self._found.get(user_id, (EMPTY_RECORD, []))


def rule_of(
    categories: Categories,
    notification: Document,
    channel: Channel,
    delivery: Document,
    choices: tuple[PreferenceRecord, list[Document]],
) -> str:
    """Why this delivery was sent, or not, in a sentence."""
    reason = None if delivery.get("reason") is None else Reason(delivery["reason"])
    if reason in _NOT_CALLED:
        return _NOT_CALLED[reason]
    record, history = choices
    category, version = notification["category"], int(notification["preference_version"])
    of_choice = reason if reason in _BY_CHOICE else None
    policy = categories.get(category)
    then = None if policy is None else choice_at(history, policy.number, channel, version)
    return explain(categories, category, channel, of_choice, version, record, then)


def choice_at(history: list[Document], number: int, channel: str, version: int) -> Choice | None:
    """The choice of a category and channel that was in force at this version of the record."""
    found = None
    for one in history:
        since = int(one["_id"].rpartition(":")[2])
        if one["category"] == number and one["channel"] == channel and since <= version:
            found = Choice(one["opted_in"], one["at"], since)
    return found
