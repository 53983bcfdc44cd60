"""Four ways to break the promise, each applied to a copy: the tests of the way out must turn red for every one of them.

A suite that stays green when the row is published before it is committed would prove nothing about the outbox.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from devtools.stack import Stack
from devtools.stack.paths import PROJECT

FLUSH_LOOP = "notify_streams/outbox/flush_loop.py"
COMMIT = "await self._commit(flush, divisible=len(batches) > 1)"
#: What must notice. Together they take a few seconds.
WATCHERS = (
    "tests/integration/outbox/test_flush_loop.py::test_nothing_is_acknowledged_before_it_is_published",
    "tests/integration/outbox/test_refused_batches.py::test_the_same_records_decided_twice_are_counted_once",
    "tests/integration/outbox/test_refused_batches.py::test_a_batch_that_begins_elsewhere_is_handed_back_and_the_others_go_on",
    "tests/integration/outbox/test_flush_loop.py::test_published_rows_are_deleted_though_nothing_follows",
    "tests/integration/outbox/test_transaction.py::test_of_two_workers_exactly_one_wins",
)
BREAKS = {
    "publish before commit": (FLUSH_LOOP, COMMIT, f"await self._publish(flush); {COMMIT}"),
    "acknowledge before commit": (FLUSH_LOOP, COMMIT, f"[batch.ack_handle.ack() for batch in batches]; {COMMIT}"),
    "drop the fence": (
        "notify_streams/outbox/transaction.py",
        '"next_offset": step.start',
        '"bucket": step.bucket',
    ),
    "forget the row deletion": (
        FLUSH_LOOP,
        "self._pending_deletes.add(flush.id, flush.rows)",
        "pass",
    ),
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in ("notify_streams", "agents", "tables", "devtools", "config", "tests", "setup.cfg", "pyproject.toml"):
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    (tmp_path / ".cache").symlink_to(PROJECT / ".cache")  # the services' jars, fetched once
    return tmp_path


def watch(copy: Path, stack_folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs the watchers on the copy, against the services that already run."""
    environ = {**os.environ, "PYTHONPATH": str(copy), "NOTIFY_TEST_STACK": str(stack_folder)}
    # What hangs because it is broken is red as well.
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--timeout", "45", "-p", "no:cacheprovider", *WATCHERS]
    return subprocess.run(command, cwd=copy, env=environ, capture_output=True, text=True, timeout=170, check=False)


def test_unbroken_the_copy_is_green(copy: Path, stack: Stack) -> None:
    ran = watch(copy, stack.folder)
    assert ran.returncode == 0, ran.stdout[-2000:]


@pytest.mark.parametrize("what", BREAKS)
def test_a_broken_promise_turns_the_tests_red(what: Any, copy: Path, stack: Stack) -> None:
    file, promise, broken = BREAKS[what]
    text = (copy / file).read_text()
    assert text.count(promise) == 1, f"{promise!r} stands {text.count(promise)} times in {file}: adapt this test"
    (copy / file).write_text(text.replace(promise, broken))
    ran = watch(copy, stack.folder)
    assert ran.returncode == 1, f"{what}: nobody noticed\n{ran.stdout[-2000:]}"
    assert " failed" in ran.stdout
