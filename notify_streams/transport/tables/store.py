"""`Store`: where a table keeps its rows and its changelog position.

Rows and their position are written together or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from notify_streams.transport.record_batch import Record

#: `decode(key, value, partition)` returns the row's key and value, or None to leave the record out. It may intern values, and may read the
#: table, which has what the records before this one have changed. For a deletion `value` is None and the returned value is ignored.
Decode = Callable[[bytes, bytes | None, int], "tuple[Any, Any] | None"]


def decode_raw(key: bytes, value: bytes | None, partition: int) -> tuple[Any, Any]:
    """Keep key and value as bytes."""
    return key, value


#: Opens the store when the table starts.
StoreFactory = Callable[[Decode], "Store"]


class FolderInUse(Exception):
    """Another process has the folder of a table open. Stop; the message names the folder."""


class DiskFull(OSError):
    """Nothing more can be written. What was written before can be read; repeat the call when there is space."""


class StoreDamaged(Exception):
    """The store can no longer be read. Stop; the next start builds it anew."""


class Store(Protocol):
    """Rows of all partitions of one table on this worker. Not safe for threads."""

    #: Why the worker must stop; None while all is well.
    failure: StoreDamaged | None

    def position(self, partition: int) -> int | None:
        """The first changelog offset that is not applied; None if the store has nothing of the partition."""
        ...

    def partitions(self) -> frozenset[int]:
        """Those of which it has rows, released ones too."""
        ...

    def load(self, partition: int, records: Iterable[Record], position: int) -> None:
        """Apply changelog records; the last one of a key wins.

        Raises:
            DiskFull: nothing of it is applied.
        """
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
        """The partition was revoked: free memory, keep what makes a later assignment faster. Does nothing if it is released already."""
        ...

    def close(self) -> None:
        """Close files. Written rows are kept, if the store is on disk."""
        ...
