"""What can go wrong with a produced batch, named by what the catcher must do.

SendError
├── RecordTooLarge   drop or shrink that record; nothing of the batch was sent
└── BatchNotSent     retry later; says which records may be missing
"""

from __future__ import annotations


class SendError(Exception):
    """A batch was not written as asked."""


class RecordTooLarge(SendError):
    """A record alone is over the size limit. Nothing of its batch was sent: remove it (`index`) and send again."""

    def __init__(self, topic: str, partition: int, index: int, size: int, limit: int) -> None:
        super().__init__(f"record {index} for {topic}-{partition} has {size} bytes, the limit is {limit}")
        self.topic = topic
        self.partition = partition
        self.index = index
        self.size = size
        self.limit = limit


class BatchNotSent(SendError):
    """Kafka did not acknowledge records `unsent` of the batch; those before are written, in order.

    Some of `unsent` may be written all the same (the answer was lost), so sending them again is at least once.
    """

    def __init__(self, topic: str, partition: int, unsent: range, cause: BaseException) -> None:
        super().__init__(
            f"records {unsent.start}..{unsent.stop - 1} for {topic}-{partition} not acknowledged: {cause!r}"
        )
        self.topic = topic
        self.partition = partition
        self.unsent = unsent
        self.cause = cause
