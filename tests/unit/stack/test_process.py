"""Detached processes: identity, signals, pause, stop."""

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


def test_it_runs_until_it_is_stopped(process: Process) -> None:
    assert process.pid is None
    assert process.start(SLEEP) == process.pid
    assert process.state == "running"
    process.stop()
    assert process.pid is None


def test_it_is_scheduled_as_batch_work(process: Process) -> None:
    assert os.sched_getscheduler(process.start(SLEEP)) == os.SCHED_BATCH


def test_it_outlives_its_starter(process: Process) -> None:
    code = (
        "from pathlib import Path; from devtools.stack.process import Process; "
        f"Process(Path({str(process.folder)!r})).start({SLEEP!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert process.state == "running"
    assert os.getsid(process.pid or 0) == process.pid


def test_another_process_with_the_same_pid_is_not_signalled(process: Process) -> None:
    """Pids are reused after a restart of the machine, and when they wrap."""
    with subprocess.Popen(SLEEP) as foreign:
        try:
            process.folder.mkdir()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            start = Path(f"/proc/{foreign.pid}/stat").read_text().split()[21]
            for text in (f"{foreign.pid} {int(start) - 1} {boot}", f"{foreign.pid} {start} another-boot"):
                (process.folder / "process").write_text(text)
                assert process.pid is None
                assert process.signal(signal.SIGKILL) is False
                process.stop()
            assert foreign.poll() is None
        finally:
            foreign.kill()


def test_a_paused_process_can_be_stopped(process: Process) -> None:
    process.start(SLEEP)
    process.pause()
    assert process.state == "paused"
    began = time.monotonic()
    process.stop(grace_s=10)
    assert process.pid is None
    assert time.monotonic() - began < 5, "it was killed instead of stopped"


def test_a_process_that_ignores_sigterm_is_killed(process: Process) -> None:
    process.start(["/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"])
    wait_until(lambda: "ready" in process.log.read_text())
    began = time.monotonic()
    process.stop(grace_s=0.5)
    assert process.state == "stopped"
    assert time.monotonic() - began < 5


def test_an_incomplete_identity_file_is_no_process(process: Process) -> None:
    process.folder.mkdir()
    (process.folder / "process").write_text("12")
    assert process.pid is None


def test_its_children_are_killed_with_it(process: Process) -> None:
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
