"""The history of choices: documents that are added once and never changed.

``{_id: "<user id>:<version>", bucket, user_id, category, channel, opted_in, at, source, detail}``; `category` is the category's number,
which is never given to another one. A choice has its document before its caller gets an answer. A choice that another one replaces is in
the preference record until its document is known to exist, so a crash loses none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from notify_streams.preferences.compare_and_swap import MAX_WRITES, run_writes
from notify_streams.stores.mongo import CONSENTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pymongo.asynchronous.collection import AsyncCollection
    from pymongo.asynchronous.database import AsyncDatabase

    from notify_streams.preferences.choices import ChoiceChange, NumberedChoice, PreferenceRecord
    from notify_streams.stores.mongo import Document, Shards


#: Ids of one query, each of at most 0.6 kB; a query has at most 16 MB.
_MAX_IDS: Final = 20_000


async def add_consents(database: AsyncDatabase[Document], documents: Sequence[Document]) -> None:
    """Add the documents that do not exist, durably.

    Raises:
        PyMongoError: some may not have been added; add the same documents again.
    """
    for start in range(0, len(documents), MAX_WRITES):
        chunk = documents[start : start + MAX_WRITES]
        await run_writes(database, {"insert": CONSENTS}, "documents", chunk)


async def complete_consents(database: AsyncDatabase[Document], documents: Sequence[Document]) -> None:
    """The same for documents that nearly always exist: a read is cheaper than writes that find that.

    Raises:
        PyMongoError: some may not have been added; add the same documents again.
    """
    for start in range(0, len(documents), _MAX_IDS):
        chunk = documents[start : start + _MAX_IDS]
        wanted = {
            "_id": {"$in": [one["_id"] for one in chunk]},
            "bucket": {"$in": list({one["bucket"] for one in chunk})},
        }
        found = database[CONSENTS].find(wanted, {"_id": 1}, batch_size=len(chunk) + 1)
        known = {one["_id"] for one in await found.to_list()}
        await add_consents(database, [one for one in chunk if one["_id"] not in known])


async def has_consent(collection: AsyncCollection[Document], bucket: int, user_id: str, detail: str) -> bool:
    """Whether a choice to opt in was made with this detail.

    Raises:
        PyMongoError
    """
    query = {"bucket": bucket, "_id": ids_of(user_id), "opted_in": True, "detail": detail}
    return await collection.find_one(query, {"_id": 1}) is not None


def ids_of(user_id: str) -> dict[str, str]:
    """The `_id` range of a user's documents. It may have those of a user whose id begins with this one and a colon."""
    return {"$gt": f"{user_id}:", "$lt": f"{user_id};"}  # a semicolon follows a colon


def consent_documents(bucket: int, user_id: str, choices: Iterable[NumberedChoice]) -> list[Document]:
    """A document for each choice."""
    return [
        {
            "_id": f"{user_id}:{choice.version}",
            "bucket": bucket,
            "user_id": user_id,
            "category": number,
            "channel": channel,
            "opted_in": choice.opted_in,
            "at": choice.at,
            "source": choice.source.value,
            "detail": choice.detail,
        }
        for number, channel, choice in choices
    ]


def replaced_choices(before: PreferenceRecord, after: PreferenceRecord) -> list[NumberedChoice]:
    """The choices in `before` that `after` does not have."""
    return [one for one in before.numbered() if after.choices[one[0]].get(one[1]) is not one[2]]


def chosen_now(record: PreferenceRecord, changes: Iterable[ChoiceChange]) -> list[NumberedChoice]:
    """What `record` has of the categories and channels of `changes`, and what they replaced themselves."""
    keys = dict.fromkeys((change.number, change.channel) for change in changes)
    found = [(number, channel, record.choices[number][channel]) for number, channel in keys]
    return [*record.replaced, *found]


async def read_consents(shards: Shards, bucket: int, user_id: str) -> list[Document]:
    """A user's documents in the order of their versions; for a command.

    Raises:
        PyMongoError: the shard does not answer.
    """
    query = {"bucket": bucket, "_id": ids_of(user_id), "user_id": user_id}
    found = await shards.collection(CONSENTS, bucket).find(query).to_list()
    return sorted(found, key=lambda document: int(document["_id"].rpartition(":")[2]))
