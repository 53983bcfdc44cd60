"""Keeps a table's rows on disk in LMDB, B+ trees in a mapped file.

One folder for each table and worker, one tree for each partition, one more for the positions. A batch of changes and its position are one
transaction. Reads are from the system's page cache, which counts as memory of the process, but the system takes them back when it needs them.

Nothing is synchronized to the disk but at a close: a killed process loses nothing, because the system has what was written. After a crash of
the machine the file may be damaged, so it is read only if it was closed, or was last open under the present boot. Else it is built anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from errno import EDQUOT, EFBIG, EIO, ENOSPC
from operator import attrgetter
from pathlib import Path
from struct import Struct
from typing import Any, Final

import lmdb

from notify_streams.settings_types import MAX_DISK_PARTITIONS
from notify_streams.transport.record_batch import Record
from notify_streams.transport.tables.store import Decode, DiskFull, FolderInUse, StoreDamaged, StoreFactory, decode_raw

log = logging.getLogger(__name__)

#: Address space for each table; the file has only what is in it.
MAX_BYTES: Final = 64 * 1024**3
#: How long the rows of a revoked partition are kept.
KEEP_REVOKED_S: Final = 3600.0

#: The longest key of LMDB. A longer or an empty one is stored under its hash.
_MAX_KEY: Final = 511
_POSITIONS: Final = b"positions"
#: Position; when the partition was revoked (seconds since the epoch), 0 while it is not.
_POSITION: Final = Struct(">Qd")
_DATA: Final = "data.mdb"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_CLOSED: Final = "closed"
_DAMAGED: Final = "damaged"
_DAMAGE: Final = (
    lmdb.CorruptedError,
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
    lmdb.IncompatibleError,
    lmdb.PanicError,
    lmdb.ProblemError,
    # What LMDB says at the next page.
    lmdb.BadTxnError,
    lmdb.BadDbiError,
)
#: LMDB calls a write that ends in the middle EIO: the disk has become full.
_FULL: Final = tuple(map(os.strerror, (ENOSPC, EDQUOT, EFBIG, EIO)))
_key_of = attrgetter("key")


def on_disk(
    folder: Path, form: str = "", *, max_bytes: int = MAX_BYTES, keep_revoked_s: float = KEEP_REVOKED_S
) -> StoreFactory:
    """A `StoreFactory`: rows in LMDB, in a folder that no other process uses. `decode` must return bytes.

    Args:
        form: of the rows, as `decode` makes them. A folder with another form is built anew.
    """

    def open_store(decode: Decode) -> DiskStore:
        return DiskStore(folder, decode, form=form, max_bytes=max_bytes, keep_revoked_s=keep_revoked_s)

    return open_store


class DiskStore:
    """See `Store`. A read may wait for the disk if the page cache does not have the row.

    Raises:
        FolderInUse, DiskFull: while it is opened. What cannot be read is deleted and logged; the table is then empty.
    """

    def __init__(
        self,
        folder: Path,
        decode: Decode = decode_raw,
        *,
        form: str = "",
        max_bytes: int = MAX_BYTES,
        keep_revoked_s: float = KEEP_REVOKED_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.failure: StoreDamaged | None = None
        self._folder = folder
        self._decode = decode
        self._form = form
        self._max_bytes = max_bytes
        self._keep_revoked_s = keep_revoked_s
        self._clock = clock
        #: The transaction of a `load`: its reads have what it has written.
        self._writing: Any = None
        self._databases: dict[int, Any] = {}
        #: By partition: position, and when it was revoked.
        self._positions: dict[int, tuple[int, float]] = {}
        with self._explained():
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(folder)
            try:
                self._open_or_rebuild()
            except BaseException:
                os.close(self._lock)
                raise

    def position(self, partition: int) -> int | None:
        found = self._positions.get(partition)
        return None if found is None else found[0]

    def partitions(self) -> frozenset[int]:
        return frozenset(self._positions)

    def load(self, partition: int, records: Iterable[Record], position: int) -> None:
        decode = self._decode
        # Neighbours of the tree are written together. The order of one key's records stays: the sort is stable.
        changes = sorted((record for record in records if record.key is not None), key=_key_of)
        with self._explained():
            database = self._database(partition)
            with self._env.begin(db=database, write=True) as txn:
                self._writing = txn
                try:
                    for record in changes:
                        row = decode(record.key or b"", record.value, partition)
                        if row is not None:
                            key = _stored_key(row[0])
                            if record.value is None:
                                txn.delete(key)
                            else:
                                txn.put(key, row[1])
                    txn.put(_name(partition), _POSITION.pack(position, 0.0), db=self._position_rows)
                finally:
                    self._writing = None
        self._positions[partition] = position, 0.0

    def get(self, partition: int, key: Any) -> Any:
        return self.get_many(partition, (key,))[0]

    def get_many(self, partition: int, keys: Sequence[Any]) -> list[Any]:
        database = self._databases.get(partition)
        if database is None:
            return [None] * len(keys)
        with self._explained():
            if self._writing is not None:
                return [self._writing.get(_stored_key(key), db=database) for key in keys]
            with self._env.begin(db=database) as txn:
                try:
                    found = list(map(txn.get, keys))
                except lmdb.BadValsizeError:  # of an empty key; a long one is not found
                    found = None
                if found is None or (None in found and max(map(len, keys)) > _MAX_KEY):
                    found = [txn.get(_stored_key(key)) for key in keys]
                return found

    def drop(self, partition: int) -> None:
        with self._explained():
            self._drop([partition])

    def release(self, partition: int) -> None:
        """Keep the rows for `keep_revoked_s`. Rows that were released longer ago are deleted: the file reuses their space."""
        now = self._clock()
        with self._explained():
            position, revoked_at = self._positions.get(partition, (None, 0.0))
            if position is not None and not revoked_at:
                with self._env.begin(write=True) as txn:
                    txn.put(_name(partition), _POSITION.pack(position, now), db=self._position_rows)
                self._positions[partition] = position, now
            self._drop(
                [
                    number
                    for number, (_, at) in self._positions.items()
                    if at and not now - self._keep_revoked_s < at <= now
                ]
            )

    def close(self) -> None:
        """Write everything to the disk. A later opening finds the rows, also after a crash of the machine."""
        try:
            if self.failure is None:
                with self._explained():
                    self._env.sync(True)
                    self._env.close()
                    self._note(self._closed())
        except DiskFull as error:
            log.warning(
                "a table could not be closed, it will be built anew",
                extra={"action": "table.not_closed", "error": error},
            )
        finally:
            os.close(self._lock)

    def size_bytes(self) -> int:
        """Of the file, on the disk."""
        return (self._folder / _DATA).stat().st_blocks * 512

    def _open_or_rebuild(self) -> None:
        data = self._folder / _DATA
        if data.exists():
            reason = self._unusable()
            if reason is None:
                try:
                    self._open()
                except _DAMAGE as error:
                    reason = f"it is damaged ({error})"
            if reason is None:
                self._note(_boot_id())
                return
            log.warning(
                "the folder of a table cannot be used; it is deleted and the table is read anew",
                extra={
                    "action": "table.rebuild",
                    "table": self._folder.name,
                    "folder": str(self._folder),
                    "reason": reason,
                },
            )
            data.unlink()
        self._databases, self._positions = {}, {}
        self._note(_boot_id())
        self._open()

    def _closed(self) -> str:
        return f"{_CLOSED} {(self._folder / _DATA).stat().st_size}"

    def _unusable(self) -> str | None:
        """Why what is there must not be read."""
        try:
            form, _, state = (self._folder / "state").read_text().rpartition("\n")
        except (OSError, UnicodeDecodeError):
            return "it does not say in which state it is"
        if state == _DAMAGED:
            return "it was found damaged"
        if state.startswith(_CLOSED):
            if state != self._closed():
                return "its file has another size than when it was closed"
        elif state != _boot_id():
            return "the machine ended while it was open"
        return (
            None
            if form == self._form
            else "its rows have another form: partitions, regions or the release have changed"
        )

    def _open(self) -> None:
        self._env = lmdb.open(
            str(self._folder),
            map_size=self._max_bytes,
            max_dbs=MAX_DISK_PARTITIONS + 1,
            # `_locked` excludes other processes, and this one reads and writes in one thread.
            lock=False,
            sync=False,
            metasync=False,
            # Rows are read in no order: what lies beside them is not needed.
            readahead=False,
            meminit=False,
        )
        try:
            self._position_rows = self._env.open_db(_POSITIONS)
            with self._env.begin(db=self._position_rows) as txn:
                found = {int(bytes(name)): _POSITION.unpack(value) for name, value in txn.cursor()}
            for partition in found:
                self._database(partition)
            self._positions = found
        except BaseException:
            self._env.close()
            raise

    def _database(self, partition: int) -> Any:
        found = self._databases.get(partition)
        if found is None:
            if not 0 <= partition < MAX_DISK_PARTITIONS:
                raise ValueError(
                    f"partition {partition} is out of range: a table on disk has at most {MAX_DISK_PARTITIONS}"
                )
            found = self._databases[partition] = self._env.open_db(_name(partition))
        return found

    def _drop(self, partitions: Sequence[int]) -> None:
        known = [partition for partition in partitions if partition in self._databases]
        if not known:
            return
        with self._env.begin(write=True) as txn:
            for partition in known:
                txn.drop(self._databases[partition], delete=False)
                txn.delete(_name(partition), db=self._position_rows)
        for partition in known:
            self._positions.pop(partition, None)

    def _note(self, state: str) -> None:
        """Write what `_unusable` reads, so that it survives a crash of the machine."""
        file = os.open(self._folder / "state.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(file, f"{self._form}\n{state}".encode())
            os.fsync(file)
        finally:
            os.close(file)
        (self._folder / "state.new").replace(self._folder / "state")
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Errors of LMDB and of the system as those of `store`."""
        try:
            yield
        except lmdb.MapFullError as error:
            raise DiskFull(
                f"the table in {self._folder} has reached its limit of {self._max_bytes} bytes: raise it (`tables.max_bytes`)"
            ) from error
        except _DAMAGE as error:
            self.failure = StoreDamaged(
                f"the table in {self._folder} is damaged ({error}): it will be built anew at the next start"
            )
            self._note(_DAMAGED)
            raise self.failure from error
        except DiskFull:
            raise
        except (lmdb.Error, OSError) as error:
            if isinstance(error, lmdb.DiskError) or any(text in str(error) for text in _FULL):
                raise DiskFull(
                    f"the disk takes no more of the table in {self._folder} ({error}): free space, or give it another disk"
                ) from error
            raise


def _locked(folder: Path) -> int:
    """The descriptor of the lock, which ends with the process."""
    file = os.open(folder / "in-use", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise FolderInUse(
            f"the table in {folder} is in use by another process: stop that one, or give this worker another folder"
        ) from None
    return file


def _boot_id() -> str:
    """Of the machine, also in a container. Without one, nothing that was not closed is read again."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return f"no boot id {os.getpid()} {time.time_ns()}"


def _name(partition: int) -> bytes:
    return b"%d" % partition


def _stored_key(key: bytes) -> bytes:
    return key if 0 < len(key) <= _MAX_KEY else b"\0" + hashlib.blake2b(key).digest()
