"""One copy of a role on a machine, also after its supervisor has ended."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from devtools.role_lock import RoleLock
from devtools.stack.ports import free_port
from devtools.supervisor import last_error
from notify_streams.app import web_port
from notify_streams.errors import Refused
from notify_streams.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        region="us", kafka="k:1", shards=("m",), redis="r", data_dir=str(tmp_path), web_port_base=free_port(count=20)
    )


def test_a_role_cannot_be_locked_twice_until_it_is_released(settings: Settings) -> None:
    first = RoleLock(settings, "push")
    with pytest.raises(Refused, match="role push of region us runs already here, started by process"):
        RoleLock(settings, "push")
    other = RoleLock(settings, "email")
    first.release()
    RoleLock(settings, "push").release()
    other.release()


def test_a_worker_keeps_the_lock_after_its_supervisor_has_ended(settings: Settings) -> None:
    lock = RoleLock(settings, "push")
    worker = subprocess.Popen(
        [sys.executable, "-c", "input()"], pass_fds=[lock.file], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    lock.release()
    with pytest.raises(Refused):
        RoleLock(settings, "push")
    worker.communicate(b"\n")
    RoleLock(settings, "push").release()


def test_a_port_of_another_program_is_named(settings: Settings) -> None:
    port = web_port(settings, "push")
    with socket.create_server(("127.0.0.1", port)), pytest.raises(Refused, match=f"port {port} is used"):
        RoleLock(settings, "push")
    RoleLock(settings, "push").release()
    RoleLock(msgspec.structs.replace(settings, region="eu"), "push").release()


def test_a_folder_that_cannot_be_written_is_named(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    there = msgspec.structs.replace(settings, data_dir=str(tmp_path / "file"))
    with pytest.raises(Refused, match=r"data_dir: .*push\.lock cannot be written: Not a directory"):
        RoleLock(there, "push")


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        (b"", None),
        (b'{"level": "INFO", "message": "started"}\n', None),
        (b'{"level": "ERROR", "message": "no broker"}\n{"level": "INFO", "message": "stopping"}\n', "no broker"),
        (b"Error: the file is missing\n", "the file is missing"),
        (b"\xff\xfe[1]\nnull\n" + b"x" * 100_000, None),
        (b'{"level": "ERROR", "message": "' + b"y" * 1_000 + b'"}', "y" * 300),
    ],
    ids=["empty", "no error", "an error", "of the command line", "not a log", "long"],
)
def test_the_cause_of_an_end_is_the_last_error_of_the_log(tmp_path: Path, log: bytes, cause: str | None) -> None:
    file = tmp_path / "log"
    file.write_bytes(log)
    assert last_error(file) == cause
