"""`.ci/run`: what it checks, and that a signal leaves nothing running. `make` and Python are scripts of the test."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from devtools.stack.paths import PROJECT
from devtools.subprocesses import python_module
from tests.unit.stack.scripts import executable
from tests.waiting import wait_until

#: Starts what a fuzz test starts, in its temporary folder, and ends without stopping it.
MAKE = """#!/usr/bin/env bash
echo "$*" >> made
[ "$1" = test ] || exit 0
export NOTIFY_STACK_DIR=$NOTIFY_TEST_RUNS/7-tmp/popen-gw0/test_fuzz0/stack
mkdir -p "$NOTIFY_STACK_DIR"; touch "$NOTIFY_STACK_DIR/state.json"
sleep 600 & echo $! > worker
env -u NOTIFY_STACK_DIR tail -f "$NOTIFY_STACK_DIR/state.json" & echo $! > sandbox
wait
"""
PYTHON = """#!/usr/bin/env bash
echo "$NOTIFY_STACK_DIR: $*" >> stopped
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with `.ci/run` and programs for it."""
    folder = tmp_path / "checkout"
    (folder / ".ci").mkdir(parents=True)
    shutil.copy(PROJECT / ".ci" / "run", folder / ".ci" / "run")
    executable(folder / "bin" / "make", MAKE)
    executable(folder / "bin" / "python3.13", "#!/usr/bin/env bash\n")
    executable(folder / ".venv" / "bin" / "python", PYTHON)
    return folder


def test_a_signal_stops_the_stack_of_a_test_in_its_temporary_folder(checkout: Path, tmp_path: Path) -> None:
    environ = {**os.environ, "PATH": f"{checkout / 'bin'}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    running = subprocess.Popen(["bash", checkout / ".ci" / "run"], env=environ, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: (checkout / "sandbox").exists() and (checkout / "sandbox").read_text().strip())
    finally:
        running.send_signal(signal.SIGTERM)
    assert running.wait(20) == 128 + signal.SIGTERM
    assert (checkout / "made").read_text().splitlines() == [
        "lint docs",
        "check VENV=.venv-3.13 PYTHON=python3.13 ARGS=-n 2",
        "test",
    ]
    processes = [Path("/proc", (checkout / name).read_text().strip()) for name in ("worker", "sandbox")]
    wait_until(lambda: not any(process.exists() for process in processes))
    (stopped,) = (checkout / "stopped").read_text().splitlines()
    assert stopped.endswith("/runs/7-tmp/popen-gw0/test_fuzz0/stack: -m devtools.stack down --wipe")
    assert not [*tmp_path.glob("notify-ci.*")]


@pytest.mark.parametrize("broken", ["test", "test-regions"])
def test_both_kinds_of_tests_run_whichever_fails(checkout: Path, tmp_path: Path, broken: str) -> None:
    failing = (
        f'#!/usr/bin/env bash\necho "$*" >> made\necho "= 7 passed of $1 in 3 s ="\n[ "$1" != {broken} ] || exit 2\n'
    )
    executable(checkout / "bin" / "make", failing)
    environ = {**os.environ, "PATH": f"{checkout / 'bin'}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    run = ["bash", str(checkout / ".ci" / "run")]
    ended = subprocess.run(run, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert (checkout / "made").read_text().splitlines()[-2:] == ["test", "test-regions"]
    assert ended.stdout.splitlines()[-2:] == ["= 7 passed of test in 3 s =", "= 7 passed of test-regions in 3 s ="]


def test_temporary_folders_of_tests_are_in_the_folder_of_the_run(tmp_path: Path) -> None:
    """That is where `.ci/run` looks for stacks."""
    (tmp_path / "test_one.py").write_text("def test_one(tmp_path): (tmp_path / 'seen').touch()")
    options = "-q", "-n", "1", "-p", "tests.conftest", "-c", str(PROJECT / "setup.cfg")
    environ = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}
    subprocess.run(
        python_module("pytest", *options, str(tmp_path / "test_one.py")),
        cwd=PROJECT,
        env=environ | {"NOTIFY_TEST_RUNS": str(tmp_path / "runs")},
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=60,
    )
    assert [*tmp_path.glob("runs/*-tmp/popen-gw0/test_one0/seen")]
