"""Mutation tests: the outbox tests must fail for each of these defects.

Each defect is edited into a copy of the source.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from devtools.stack import Stack
from devtools.stack.paths import PROJECT

FLUSH_LOOP = "notify_streams/outbox/flush_loop.py"
COMMIT = "await self._commit.commit(flush, divisible=len(batches) > 1)"
PUBLISH = "await self._publications.publish(flush, batches, began_ns, publishing)"
#: The tests that must fail. Together they take a few seconds.
TESTS = (
    "tests/integration/outbox/test_flush_loop.py::test_nothing_is_acknowledged_before_it_is_published",
    "tests/integration/outbox/test_refused_batches.py::test_the_same_records_decided_twice_are_counted_once",
    "tests/integration/outbox/test_refused_batches.py::test_a_batch_at_another_position_is_refused_and_the_others_are_flushed",
    "tests/integration/outbox/test_flush_loop.py::test_published_rows_are_deleted_without_another_flush",
    "tests/integration/outbox/test_transaction.py::test_of_competing_workers_exactly_one_commits",
)
DEFECTS = {
    "publish before commit": (FLUSH_LOOP, COMMIT, f"{PUBLISH}; {COMMIT}"),
    "acknowledge before commit": (FLUSH_LOOP, COMMIT, f"[batch.ack_handle.ack() for batch in batches]; {COMMIT}"),
    "drop the fence": (
        "notify_streams/outbox/transaction.py",
        '"next_offset": step.start',
        '"bucket": step.bucket',
    ),
    "forget the row deletion": (
        "notify_streams/outbox/flush_publications.py",
        "self._pending_deletes.add(one.flush.id, one.published)",
        "pass",
    ),
}
SEALED_SUMS = "notify_streams/stores/sealed_sums.py"
#: A period is a second there.
SEALING_TESTS = ("tests/integration/outbox/test_sealed_sums.py",)
SEALING_DEFECTS = {
    "count in a sealed period": ("notify_streams/outbox/transaction.py", "fence[PERIOD_END] = step.period_end", "pass"),
    "name another period": (FLUSH_LOOP, "batch.count_in(period_end)", "pass"),
    "begin at zero": (SEALED_SUMS, 'before.get(one["_id"]) or opening_of(one)', "opening_of(one)"),
    "seal without opening the next": (SEALED_SUMS, 'change: Document = {"period_end": end}', "change: Document = {}"),
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in ("notify_streams", "agents", "tables", "devtools", "config", "tests", "setup.cfg", "pyproject.toml"):
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    (tmp_path / ".cache").symlink_to(PROJECT / ".cache")  # downloaded jars of the services
    return tmp_path


def run_tests(copy: Path, stack_folder: Path, tests: Sequence[str] = TESTS) -> subprocess.CompletedProcess[str]:
    """Run the tests on the copy, against the services that already run."""
    environ = {**os.environ, "PYTHONPATH": str(copy), "NOTIFY_TEST_STACK": str(stack_folder)}
    # A test that hangs because of the defect fails by its time-out.
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--timeout", "45", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=copy, env=environ, capture_output=True, text=True, timeout=170, check=False)


def test_without_a_defect_the_tests_pass(copy: Path, stack: Stack) -> None:
    ran = run_tests(copy, stack.folder)
    assert ran.returncode == 0, ran.stdout[-2000:]


@pytest.mark.parametrize("name", DEFECTS)
def test_the_tests_fail_for_a_defect(name: str, copy: Path, stack: Stack) -> None:
    break_it(copy, *DEFECTS[name])
    # What does not come because of the defect is waited for no longer than all of the tests take without one.
    break_it(copy, "tests/waiting.py", "LIMIT_S: Final = 30.0", "LIMIT_S: Final = 10.0")
    assert_fails(run_tests(copy, stack.folder), name)


@pytest.mark.drill
@pytest.mark.parametrize("name", [*DEFECTS, *SEALING_DEFECTS])
def test_the_tests_with_periods_of_a_second_fail_for_a_defect(name: str, copy: Path, stack: Stack) -> None:
    break_it(copy, *(DEFECTS | SEALING_DEFECTS)[name])
    assert_fails(run_tests(copy, stack.folder, SEALING_TESTS if name in SEALING_DEFECTS else TESTS), name)


def break_it(copy: Path, file: str, code: str, defect: str) -> None:
    text = (copy / file).read_text()
    assert text.count(code) == 1, f"{code!r} occurs {text.count(code)} times in {file}: adapt this test"
    (copy / file).write_text(text.replace(code, defect))


def assert_fails(ran: subprocess.CompletedProcess[str], name: str) -> None:
    assert ran.returncode == 1, f"no test failed for {name!r}\n{ran.stdout[-2000:]}"
    assert " failed" in ran.stdout
