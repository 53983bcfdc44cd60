"""Where a table keeps its rows: what every store promises.

In: rows of one partition together with the changelog position they bring it to. Out: rows, and that position after
a restart if the store outlives the process. A row and its position are written together or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from notify_streams.transport.record_batch import Record

#: `decode(key, value, partition)` makes a row of a changelog record, or None to leave it out. It may intern values.
#: For a deletion `value` is None and only the row's key is looked at.
Decode = Callable[[bytes, bytes | None, int], "tuple[Any, Any] | None"]
#: `encode(key, value)` is the way back; a value of None is a deletion and must stay None.
Encode = Callable[[Any, Any], "tuple[bytes, bytes | None]"]


def decode_raw(key: bytes, value: bytes | None, partition: int) -> tuple[Any, Any]:
    """Rows are bytes, as in the topic."""
    return key, value


def encode_raw(key: Any, value: Any) -> tuple[bytes, bytes | None]:
    """Rows are bytes, as in the topic; a key may be text."""
    return (key.encode() if isinstance(key, str) else key), value


#: Opens the store when the table starts. `shared`: keys are unique over all partitions.
StoreFactory = Callable[[Decode, Encode, bool], "Store"]


class Store(Protocol):
    """Rows of all partitions of one table on this worker. Not safe for threads."""

    def position(self, partition: int) -> int | None:
        """The next changelog offset that the store has not applied; None if it knows nothing of the partition."""
        ...

    def load(self, partition: int, records: Iterable[Record], position: int) -> None:
        """Apply changelog records, the last of a key wins."""
        ...

    def write(
        self, partition: int, rows: Mapping[Any, Any], encoded: Sequence[tuple[bytes, bytes | None]], position: int
    ) -> None:
        """Apply rows that the changelog has already; `encoded` are the same rows as they are in the topic."""
        ...

    def get(self, partition: int, key: Any) -> Any:
        """One row's value or None."""
        ...

    def get_many(self, partition: int, keys: Sequence[Any]) -> list[Any]:
        """The values of several rows in the order of `keys`, None for those that are not there."""
        ...

    def drop(self, partition: int) -> None:
        """Forget a partition's rows and position."""
        ...

    def release(self, partition: int) -> None:
        """The worker no longer has the partition: free what costs memory, keep what speeds up a return."""
        ...

    def close(self) -> None:
        """Release files; nothing is lost that was written."""
        ...
