"""What a worker needs of its machine is checked before it starts."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import msgspec
import pytest

from devtools.stack.ports import free_port
from notify_streams.app import web_port
from notify_streams.cli.worker import require_machine
from notify_streams.errors import SettingsError
from notify_streams.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        region="us", kafka="k:1", shards=("m",), redis="r", data_dir=str(tmp_path), web_port_base=free_port(count=20)
    )


def test_a_machine_that_has_everything(settings: Settings, tmp_path: Path) -> None:
    require_machine(settings, "push")
    require_machine(settings, "push")
    assert not list((tmp_path / "us" / "push").iterdir())


def test_a_port_of_another_program(settings: Settings) -> None:
    port = web_port(settings, "push")
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(SettingsError, match=f"port {port}: .*Address already in use"),
    ):
        require_machine(settings, "push")


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_an_address_of_another_machine(settings: Settings, host: str) -> None:
    with pytest.raises(SettingsError, match=f"web_host {host}, port"):
        require_machine(msgspec.structs.replace(settings, web_host=host), "push")


def test_a_folder_that_cannot_be_written(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"data_dir: .* cannot be made: Not a directory"):
        require_machine(msgspec.structs.replace(settings, data_dir=str(tmp_path / "file")), "push")
