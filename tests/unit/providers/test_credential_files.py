"""The files of credentials are followed whatever happens to one of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from notify_streams.delivery.providers import ProviderConfig
from notify_streams.delivery.providers.credential_files import CredentialFiles
from notify_streams.secret import Secret

Load = Callable[[ProviderConfig], str]


@asynccontextmanager
async def following(file: Path, load: Load) -> AsyncIterator[list[str]]:
    """The credentials that were put to use, while the file is followed."""
    used: list[str] = []
    config = ProviderConfig(fcm="", twilio="", smtp="", twilio_auth_token=Secret.read(file), credential_check_s=0.005)
    files = CredentialFiles("twilio", config, ("twilio_auth_token",), load, used.append)
    await files.start()
    try:
        yield used
    finally:
        await files.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.005)


def refusals(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [one for one in caplog.records if getattr(one, "action", "") == "credential.refused"]


def revealed(config: ProviderConfig) -> str:
    return config.twilio_secret.reveal()


async def test_a_file_that_becomes_readable_by_its_mode_alone_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    file.write_text("old")
    read = Secret.read

    def as_another_user(path: Path) -> Secret:
        if not path.stat().st_mode & 0o004:
            raise PermissionError(13, "Permission denied")
        return read(path)

    async with following(file, revealed) as used:
        monkeypatch.setattr(Secret, "read", as_another_user)
        file.chmod(0o600)
        file.write_text("newer")
        await until(lambda: len(refusals(caplog)) > 0)
        file.chmod(0o644)
        await until(lambda: used == ["newer"])


async def test_a_loader_that_fails_in_an_unknown_way_does_not_end_the_following(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "key"
    file.write_text("old")

    def load(config: ProviderConfig) -> str:
        if (text := revealed(config)) == "defect":
            raise KeyError(text)
        return text

    async with following(file, load) as used:
        file.write_text("defect")
        await until(lambda: len(refusals(caplog)) == 1)
        file.write_text("newer")
        await until(lambda: used == ["newer"])
    assert refusals(caplog)[0].__dict__["error"] == "KeyError"
