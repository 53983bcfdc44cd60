"""What a person's record looks like in MongoDB, and back.

``{_id: user id, bucket, version, row, choices: {"<number>": {"<channel>": {in, at, v}}}, updated_at, changed}``. `row` is the compiled
form, so that most readers decode nothing else; `changed` is the shard's logical clock at the write, which `preferences.keeper` follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from bson import Timestamp

from notify_streams.preferences.choices import Choice, PreferenceRecord

if TYPE_CHECKING:
    from notify_streams.roles import Channel
    from notify_streams.stores.mongo import Document

#: The fields that `record_of` needs.
RECORD_FIELDS: Final = {"version": 1, "choices": 1}
#: The server puts its logical clock in place of an empty timestamp in a new document; an update asks for it.
STAMPED_AT_INSERT: Final = {"changed": Timestamp(0, 0)}
STAMP: Final = {"changed": {"$type": "timestamp"}}


def record_of(document: Document) -> PreferenceRecord:
    """The record that a document holds."""
    return PreferenceRecord(
        document["version"],
        {
            int(number): {
                cast("Channel", channel): Choice(choice["in"], choice["at"], choice["v"])
                for channel, choice in channels.items()
            }
            for number, channels in document["choices"].items()
        },
    )


def fields_of(record: PreferenceRecord) -> Document:
    """What a document says about a record that holds at least one choice."""
    return {
        "version": record.version,
        "row": record.row(),
        "choices": {
            str(number): {
                channel: {"in": choice.opted_in, "at": choice.at, "v": choice.version}
                for channel, choice in channels.items()
            }
            for number, channels in record.choices.items()
        },
        "updated_at": max(choice.at for channels in record.choices.values() for choice in channels.values()),
    }
