"""A process that outlives its starter: known by what it wrote itself, and never mistaken for another."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.stack.process import Process
from tests.waiting import wait_until

SLEEP = ["/bin/sleep", "60"]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    made = Process(tmp_path / "it")
    yield made
    made.kill()


def test_it_lives_until_it_is_ended(process: Process) -> None:
    assert process.pid is None
    assert process.start(SLEEP) == process.pid
    assert process.state == "running"
    process.end()
    assert process.pid is None


def test_it_does_not_take_the_processor_from_who_wakes_it(process: Process) -> None:
    assert os.sched_getscheduler(process.start(SLEEP)) == os.SCHED_BATCH


def test_it_outlives_the_one_that_started_it(process: Process) -> None:
    code = (
        "from pathlib import Path; from devtools.stack.process import Process; "
        f"Process(Path({str(process.folder)!r})).start({SLEEP!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert process.state == "running"
    assert os.getsid(process.pid or 0) == process.pid


def test_another_process_with_the_remembered_pid_is_never_ours(process: Process) -> None:
    """After a restart of the machine, or once pids wrapped, the number belongs to somebody else."""
    with subprocess.Popen(SLEEP) as foreign:
        try:
            process.folder.mkdir()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            start = Path(f"/proc/{foreign.pid}/stat").read_text().split()[21]
            for identity in (f"{foreign.pid} {int(start) - 1} {boot}", f"{foreign.pid} {start} another-boot"):
                (process.folder / "process").write_text(identity)
                assert process.pid is None
                assert process.signal(signal.SIGKILL) is False
                process.end()
            assert foreign.poll() is None
        finally:
            foreign.kill()


def test_a_paused_one_says_so_and_still_ends(process: Process) -> None:
    process.start(SLEEP)
    process.pause()
    assert process.state == "paused"
    began = time.monotonic()
    process.end(patience_s=10)
    assert process.pid is None
    assert time.monotonic() - began < 5, "it was killed instead of ended"


def test_one_that_ignores_the_polite_signal_is_killed(process: Process) -> None:
    process.start(["/bin/sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done"])
    wait_until(lambda: "deaf" in process.log.read_text())
    began = time.monotonic()
    process.end(patience_s=0.5)
    assert process.state == "stopped"
    assert time.monotonic() - began < 5


def test_a_torn_identity_file_is_nobody(process: Process) -> None:
    process.folder.mkdir()
    (process.folder / "process").write_text("12")
    assert process.pid is None


def test_its_children_fall_with_it(process: Process) -> None:
    process.start(["/bin/sh", "-c", "sleep 61 & echo $!; wait"])
    wait_until(lambda: process.log.read_text().endswith("\n"))
    child = Path("/proc", process.log.read_text().strip())
    assert child.exists()
    process.kill()
    wait_until(lambda: _has_ended(child))


def _has_ended(entry: Path) -> bool:
    try:
        return " Z " in (entry / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
