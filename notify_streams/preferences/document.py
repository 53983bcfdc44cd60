"""What a person's record looks like in MongoDB, and back.

``{_id: user id, bucket, version, row, choices: {"<number>": {"<channel>": {in, at, v}}}, updated_at, changed}``. `row` is the compiled
form, so that most readers decode nothing else; `changed` is the shard's logical clock at the write, which `preferences.keeper` follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from bson import Timestamp
from pymongo import InsertOne, UpdateOne

from notify_streams.preferences.choices import NOBODY, Choice, Record

if TYPE_CHECKING:
    from notify_streams.roles import Channel
    from notify_streams.stores.shards import Document

#: The fields that `record_of` needs.
RECORD_FIELDS: Final = {"version": 1, "choices": 1}
_STAMP: Final = {"changed": {"$type": "timestamp"}}
#: The server puts its logical clock in place of an empty timestamp.
_STAMPED_AT_INSERT: Final = Timestamp(0, 0)


def record_of(document: Document) -> Record:
    """The record that a document holds."""
    return Record(
        document["version"],
        {
            int(number): {
                cast("Channel", channel): Choice(choice["in"], choice["at"], choice["v"])
                for channel, choice in channels.items()
            }
            for number, channels in document["choices"].items()
        },
    )


def write_of(user_id: str, bucket: int, before: Record, after: Record) -> InsertOne[Document] | UpdateOne:
    """The write that turns `before` into `after`; it fails, or matches nothing, if the stored record is not `before`."""
    fields: Document = {
        "version": after.version,
        "row": after.row(),
        "choices": {
            str(number): {
                channel: {"in": choice.opted_in, "at": choice.at, "v": choice.version}
                for channel, choice in channels.items()
            }
            for number, channels in after.choices.items()
        },
        "updated_at": max(choice.at for channels in after.choices.values() for choice in channels.values()),
    }
    if before is NOBODY:
        return InsertOne({"_id": user_id, "bucket": bucket, **fields, "changed": _STAMPED_AT_INSERT})
    whose = {"_id": user_id, "bucket": bucket, "version": before.version}
    return UpdateOne(whose, {"$set": fields, "$currentDate": _STAMP})
