"""What a table on disk survives: kills, damage, full disks, a second process. It is never ahead of its rows."""

import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from notify_streams.transport.tables import disk_store
from notify_streams.transport.tables.disk_store import DiskStore
from notify_streams.transport.tables.store import DiskFull, FolderInUse, StoreDamaged
from tests.unit.transport.transport_builders import ARecord


def a_filled_folder(folder: Path) -> Path:
    store = DiskStore(folder)
    store.load(5, [ARecord(offset, b"k%d" % offset, b"v" * 100) for offset in range(2_000)], 2_000)
    store.close()
    return folder


def position_of(folder: Path) -> int | None:
    """After an opening; None: the table was built anew."""
    store = DiskStore(folder)
    try:
        found = store.position(5)
        assert (store.get(5, b"k7") is None) == (found is None)
        return found
    finally:
        store.close()


def test_rows_and_position_outlive_a_restart(tmp_path: Path) -> None:
    assert position_of(a_filled_folder(tmp_path / "t")) == 2_000


_WRITER = """
import sys, itertools
from pathlib import Path
from notify_streams.transport.tables.disk_store import DiskStore
from tests.unit.transport.transport_builders import ARecord

store = DiskStore(Path(sys.argv[1]))
for n in itertools.count():
    store.load(5, [ARecord(i, b"%d" % i, b"v" * 200) for i in range(10 * n, 10 * n + 10)], 10 * n + 10)
    if n == 20:
        print("writes", flush=True)
"""


def test_after_a_kill_the_position_has_exactly_its_rows(tmp_path: Path) -> None:
    for round_ in range(3):
        folder = tmp_path / str(round_)
        with subprocess.Popen([sys.executable, "-c", _WRITER, str(folder)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None and writer.stdout.readline() == b"writes\n"
            time.sleep(0.01 * round_)  # anywhere within a write
            writer.send_signal(signal.SIGKILL)
        store = DiskStore(folder)
        position = store.position(5)
        assert position is not None and position > 200
        assert None not in store.get_many(5, [b"%d" % n for n in range(position)])
        assert store.get_many(5, [b"%d" % n for n in range(position, position + 10)]) == [None] * 10
        store.close()


def test_an_error_in_the_middle_of_a_batch_changes_nothing(tmp_path: Path) -> None:
    def decode(key: bytes, value: bytes | None, partition: int) -> tuple[bytes, bytes | None]:
        if value == b"bad":
            raise RuntimeError(key)
        return key, value

    store = DiskStore(tmp_path / "t", decode)
    store.load(0, [ARecord(0, b"a", b"1")], 1)
    with pytest.raises(RuntimeError):
        store.load(0, [ARecord(1, b"a", b"2"), ARecord(2, b"b", b"bad")], 3)
    assert (store.get(0, b"a"), store.position(0)) == (b"1", 1)
    store.load(0, [ARecord(1, b"a", b"2")], 2)
    assert store.get(0, b"a") == b"2"
    store.close()


def shorten(folder: Path) -> None:
    with (folder / "data.mdb").open("r+b") as file:
        file.truncate(20_000)


def overwrite(folder: Path) -> None:
    data = folder / "data.mdb"
    data.write_bytes(b"\x5a" * data.stat().st_size)


def forget_state(folder: Path) -> None:
    (folder / "state").unlink()


def fill_with_text(folder: Path) -> None:
    (folder / "state").write_bytes(b"\xff\xfe")


@pytest.mark.parametrize("damage", [shorten, overwrite, forget_state, fill_with_text])
def test_what_cannot_be_read_is_built_anew(damage: object, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert callable(damage)
    folder = a_filled_folder(tmp_path / "t")
    damage(folder)
    with caplog.at_level(logging.WARNING):
        assert position_of(folder) is None
    (said,) = [record for record in caplog.records if getattr(record, "action", "") == "table.rebuild"]
    assert str(folder) == getattr(said, "folder", None)
    assert position_of(a_filled_folder(folder)) == 2_000


def test_a_machine_that_ended_while_the_table_was_open_leaves_nothing_to_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = a_filled_folder(tmp_path / "t")
    assert position_of(folder) == 2_000
    monkeypatch.setattr(disk_store, "_boot_id", lambda: "another boot")
    assert position_of(folder) == 2_000, "it was closed"
    with subprocess.Popen([sys.executable, "-c", _WRITER, str(folder)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == b"writes\n"
        writer.kill()
    assert position_of(folder) is None


def test_rows_of_another_form_are_built_anew(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    for form, expected in (("8 us", None), ("8 us", 3), ("16 us", None), ("16 us\neu", None)):
        store = DiskStore(folder, form=form)
        assert store.position(1) == expected
        store.load(1, [ARecord(0, b"a", b"1")], 3)
        store.close()


@pytest.mark.parametrize("content", [0, 90])
def test_damage_that_a_read_finds_is_built_anew_at_the_next_start(tmp_path: Path, content: int) -> None:
    folder = a_filled_folder(tmp_path / "t")
    store = DiskStore(folder)
    with (folder / "data.mdb").open("r+b") as file:
        file.seek(2 * 4096)  # behind the pages that name the roots
        file.write(bytes([content]) * ((folder / "data.mdb").stat().st_size - 2 * 4096))
    with pytest.raises(StoreDamaged, match=r"is damaged .*: it will be built anew at the next start"):
        store.get(5, b"k7")
    assert store.failure is not None
    store.close()
    assert position_of(folder) is None


def test_a_second_process_is_refused_in_a_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    store = DiskStore(folder)
    with pytest.raises(FolderInUse, match=rf"^the table in {folder} is in use by another process: stop that one"):
        DiskStore(folder)
    store.load(0, [ARecord(0, b"a", b"1")], 1)
    store.close()
    DiskStore(folder).close()


def test_at_its_limit_a_table_keeps_what_it_has(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "t", max_bytes=256 * 1024)
    batches = 0
    with pytest.raises(DiskFull, match=r"has reached its limit of 262144 bytes: raise it \(`tables.max_bytes`\)"):
        for batches in range(1_000):
            store.load(
                0,
                [ARecord(batches, b"%d" % n, b"v" * 200) for n in range(100 * batches, 100 * batches + 100)],
                batches + 1,
            )
    assert store.position(0) == batches
    assert None not in store.get_many(0, [b"%d" % n for n in range(100 * batches)])
    store.drop(0)
    store.load(0, [ARecord(0, b"a", b"1")], 1)  # there is space again
    store.close()


_ON_A_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from notify_streams.transport.tables.disk_store import DiskStore
from notify_streams.transport.tables.store import DiskFull
from tests.unit.transport.transport_builders import ARecord

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = DiskStore(Path(sys.argv[1]))
store.load(0, [ARecord(0, b"a", b"1")], 1)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
many = [ARecord(n, b"%d" % n, b"v" * 500) for n in range(2_000)]
try:
    store.load(0, many, 2_000)
except DiskFull as error:
    print(error)
assert (store.position(0), store.get(0, b"a")) == (1, b"1")
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
store.load(0, many, 2_000)
assert (store.position(0), store.get(0, b"7")) == (2_000, b"v" * 500)
store.close()
"""


def test_on_a_full_disk_reads_go_on_and_writes_when_there_is_space(tmp_path: Path) -> None:
    """A limit of the file's size takes the place of the disk's."""
    done = subprocess.run(
        [sys.executable, "-c", _ON_A_FULL_DISK, str(tmp_path / "t")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"the disk takes no more of the table in {tmp_path / 't'} (")


def test_a_revoked_partition_is_kept_for_a_time(tmp_path: Path) -> None:
    now = 1_000.0
    store = DiskStore(tmp_path / "t", keep_revoked_s=60.0, clock=lambda: now)
    for partition in (1, 2, 3):
        store.load(partition, [ARecord(0, b"a", b"1")], 7)
    store.release(1)
    now += 40
    store.release(2)
    store.release(1)  # is released already
    assert (store.position(1), store.get(1, b"a")) == (7, b"1")
    store.load(2, [ARecord(7, b"b", b"2")], 8)  # assigned again
    now += 30
    store.release(3)
    assert store.partitions() == {2, 3}
    assert (store.get(1, b"a"), store.get(2, b"a")) == (None, b"1")
    store.close()
    again = DiskStore(tmp_path / "t", keep_revoked_s=60.0, clock=lambda: now + 61)
    again.release(1)
    assert again.partitions() == {2}, "the time goes on over a restart"
    again.close()
