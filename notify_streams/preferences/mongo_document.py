"""Preference records as MongoDB documents.

``{_id: user id, bucket, version, row, choices: {"<number>": {"<channel>": {in, at, v, s, d}}}, updated_at, changed, replaced: [[number,
channel, {in, …}], …]}``. `s` (source), `d` (detail) and `replaced` are left out if they are the default. Most readers need only `row`
(`row_codec`). `changed` is the shard's logical time at the write, for `PreferenceRepository.changed_since`.
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
RECORD_FIELDS: Final = {"version": 1, "choices": 1, "replaced": 1}
#: In a new document the server replaces an empty timestamp by its logical time; an update needs `$currentDate`.
STAMPED_AT_INSERT: Final = {"changed": Timestamp(0, 0)}
STAMP: Final = {"changed": {"$type": "timestamp"}}


def record_of(document: Document) -> PreferenceRecord:
    """The record in a document."""
    return PreferenceRecord(
        document["version"],
        {
            int(number): {cast("Channel", channel): _choice_of(choice) for channel, choice in channels.items()}
            for number, channels in document["choices"].items()
        },
        tuple((number, channel, _choice_of(choice)) for number, channel, choice in document.get("replaced", ())),
    )


def _choice_of(fields: Document) -> Choice:
    source = ChoiceSource(fields.get("s", ChoiceSource.APP))
    return Choice(fields["in"], fields["at"], fields["v"], source, fields.get("d", ""))


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
    fields: Document = {
        "version": record.version,
        "row": record.row(),
        "choices": {
            str(number): {channel: _choice_fields(choice) for channel, choice in channels.items()}
            for number, channels in record.choices.items()
        },
        "updated_at": max(choice.at for channels in record.choices.values() for choice in channels.values()),
    }
    if record.replaced:
        fields["replaced"] = [[number, channel, _choice_fields(choice)] for number, channel, choice in record.replaced]
    return fields
