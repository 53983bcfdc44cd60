"""Preference records as MongoDB documents.

``{_id: user id, bucket, version, row, choices: {"<number>": {"<channel>": {in, at, v, s, d}}}, updated_at, changed}``. Most readers need only
`row` (`row_codec`). `changed` is the shard's logical time at the write, for `PreferenceRepository.changed_since`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from bson import Timestamp

from notify_streams.preferences.choices import Choice, PreferenceRecord
from notify_streams.records.choice_sources import ChoiceSource

if TYPE_CHECKING:
    from notify_streams.roles import Channel
    from notify_streams.stores.mongo import Document

#: Projection for `record_of`.
RECORD_FIELDS: Final = {"version": 1, "choices": 1}
#: In a new document the server replaces an empty timestamp by its logical time; an update needs `$currentDate`.
STAMPED_AT_INSERT: Final = {"changed": Timestamp(0, 0)}
STAMP: Final = {"changed": {"$type": "timestamp"}}


def record_of(document: Document) -> PreferenceRecord:
    """The record in a document."""
    return PreferenceRecord(
        document["version"],
        {
            int(number): {
                cast("Channel", channel): Choice(
                    choice["in"],
                    choice["at"],
                    choice["v"],
                    ChoiceSource(choice.get("s", ChoiceSource.APP)),
                    choice.get("d", ""),
                )
                for channel, choice in channels.items()
            }
            for number, channels in document["choices"].items()
        },
    )


def _choice_fields(choice: Choice) -> Document:
    """Without what is the default."""
    fields: Document = {"in": choice.opted_in, "at": choice.at, "v": choice.version}
    if choice.source is not ChoiceSource.APP:
        fields["s"] = choice.source.value
    if choice.detail:
        fields["d"] = choice.detail
    return fields


def fields_of(record: PreferenceRecord) -> Document:
    """The document's fields for a record with at least one choice."""
    return {
        "version": record.version,
        "row": record.row(),
        "choices": {
            str(number): {channel: _choice_fields(choice) for channel, choice in channels.items()}
            for number, channels in record.choices.items()
        },
        "updated_at": max(choice.at for channels in record.choices.values() for choice in channels.values()),
    }
