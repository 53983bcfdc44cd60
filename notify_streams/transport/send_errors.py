"""Errors of `BatchProducer`: permanent or transient.

SendError
├── RecordTooLarge   permanent: drop or shrink that record; those from `sent` on are not written
└── BatchNotSent     transient: retry the records that it names

A topic that is missing, or that the client may not write to, is transient: an operator can change that, the record has no part in it.
"""

from __future__ import annotations


class SendError(Exception):
    """A batch was not written, or only in part."""


class RecordTooLarge(SendError):
    """One record is over the size limit. Remove the record at `index` and send the records from `sent` on again: those before are written."""

    def __init__(self, topic: str, partition: int, index: int, size: int, limit: int, sent: int = 0) -> None:
        super().__init__(f"record {index} for {topic}-{partition} has {size} bytes, the limit is {limit}")
        self.topic = topic
        self.partition = partition
        self.index = index
        self.size = size
        self.limit = limit
        self.sent = sent


class BatchNotSent(SendError):
    """Kafka did not acknowledge the records `unsent`; those before are written, in order. Send `unsent` again.

    Some of `unsent` may be written nevertheless (the response was lost), so records can be written twice.
    """

    def __init__(self, topic: str, partition: int, unsent: range, cause: BaseException) -> None:
        super().__init__(
            f"records {unsent.start}..{unsent.stop - 1} for {topic}-{partition} not acknowledged: {cause!r}"
        )
        self.topic = topic
        self.partition = partition
        self.unsent = unsent
        self.cause = cause
