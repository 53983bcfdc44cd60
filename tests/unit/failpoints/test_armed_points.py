"""Failpoints act as the environment says, at the given passage; each test runs a process."""

import os
import signal
import subprocess
import sys

import pytest

from notify_streams.errors import SettingsError
from notify_streams.failpoints import NAMES, FailpointReached, armed, failpoint, parse

THREE_PASSAGES = """
import time
from notify_streams.failpoints import FailpointReached, failpoint
for number in range(1, 4):
    began = time.monotonic()
    try:
        failpoint({name!r})
    except FailpointReached:
        print("raised", number, flush=True)
    else:
        print("stalled" if time.monotonic() - began > 0.2 else "passed", number, flush=True)
"""


def passages(name: str, armed: str | None) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if key != "NOTIFY_FAILPOINTS"}
    if armed is not None:
        environ["NOTIFY_FAILPOINTS"] = armed
    script = THREE_PASSAGES.format(name=name)
    return subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("armed", [None, "", "after_publish=kill@1"], ids=["not set", "empty", "another one"])
def test_a_failpoint_that_is_not_armed_is_passed(armed: str | None) -> None:
    ended = passages("after_commit", armed)
    assert (ended.returncode, ended.stdout) == (0, "passed 1\npassed 2\npassed 3\n"), ended.stderr


def test_the_process_is_killed_at_the_given_passage() -> None:
    ended = passages("after_commit", "after_commit=kill@2")
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, "passed 1\n"), ended.stderr


def test_an_error_is_raised_at_the_given_passage_or_the_first() -> None:
    assert passages("after_commit", "after_commit=raise@3").stdout == "passed 1\npassed 2\nraised 3\n"
    assert passages("after_commit", "after_commit=raise").stdout == "raised 1\npassed 2\npassed 3\n"


def test_the_process_stalls_for_the_given_time() -> None:
    ended = passages("before_provider", "after_commit=kill@1, before_provider=stall:0.3@2")
    assert ended.stdout == "passed 1\nstalled 2\npassed 3\n", ended.stderr


@pytest.mark.parametrize("armed", ["nowhere=kill@1", "after_commit=explode", "after_commit"])
def test_an_unknown_failpoint_is_refused_with_the_known_ones(armed: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse(armed)
    assert repr(armed) in str(refused.value) and all(name in str(refused.value) for name in NAMES)


@pytest.mark.parametrize("armed", ["after_commit=kill@soon", "after_commit=stall:long@1", "after_commit=kill@0"])
def test_an_invalid_number_is_refused(armed: str) -> None:
    with pytest.raises(SettingsError, match="NOTIFY_FAILPOINTS"):
        parse(armed)


def test_failpoints_are_armed_for_a_block() -> None:
    with armed("after_commit=raise@2") as points:
        failpoint("after_commit")
        failpoint("after_publish")
        with pytest.raises(FailpointReached):
            failpoint("after_commit")
        assert points["after_commit"].passed == 2
    failpoint("after_commit")
    assert points["after_commit"].passed == 2
