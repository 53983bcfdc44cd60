"""A file that is replaced while it is read is one log line, of the look that sees it as it stays."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from notify_streams.followed_files import BadCredential, FollowedFiles
from tests.waiting import until


async def test_a_file_that_is_removed_while_it_is_read_is_one_log_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, looks = tmp_path / "key", 0
    file.write_text("first")

    def load() -> str:
        nonlocal looks
        looks += 1
        file.unlink(missing_ok=True)
        raise BadCredential(f"look {looks}")

    caplog.set_level(logging.INFO)
    followed = FollowedFiles("fcm", [file], load, lambda loaded: None, check_s=0.001)
    await followed.start()
    try:
        await until(lambda: looks == 2)
        await until(lambda: bool(_refused(caplog)))
    finally:
        await followed.close()
    assert _refused(caplog) == ["look 2"]


async def test_a_removed_file_is_looked_at_again_and_told_about_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, applied = tmp_path / "key", list[str]()

    def load() -> str:
        if not file.exists():
            raise BadCredential("removed")
        return file.read_text()

    caplog.set_level(logging.INFO)
    followed = FollowedFiles("fcm", [file], load, applied.append, check_s=0.001)
    await followed.start()
    try:
        await until(lambda: bool(_refused(caplog)))
        new = file.with_suffix(".new")
        new.write_text("second")
        new.replace(file)
        await until(lambda: applied == ["second"])
    finally:
        await followed.close()
    assert _refused(caplog) == ["removed"]


def _refused(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [vars(line)["error"] for line in caplog.records if vars(line).get("action") == "credential.refused"]
