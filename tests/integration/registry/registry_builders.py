"""Users and settings with defaults, and the replicator as a process."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from notify_streams.registry.user import User
from notify_streams.settings import Settings

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def a_user(user_id: str = "u-1", **but: Any) -> User:
    fields: dict[str, Any] = {"user_id": user_id, "region": "us", "version": 1, "updated_at": NOON}
    return User(**(fields | but))


def later(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def some_settings(region: str, url: str, table: str) -> Settings:
    return Settings(region=region, kafka="none:1", shards=("none",), redis="none", dynamodb=url, users_table=table)


class Replicator:
    """The replicator in a process of its own."""

    def __init__(self, folder: Path, urls: dict[str, str], table: str) -> None:
        self.folder = folder
        self._urls = urls
        self._table = table
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        regions = [f"{name}={url}" for name, url in self._urls.items()]
        program = (sys.executable, "-m", "devtools.stack.dynamodb_replicator", str(self.folder), *regions)
        self.process = await asyncio.create_subprocess_exec(
            *program, "--table", self._table, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        assert self.process.stdout is not None
        assert (await self.process.stdout.readline()).startswith(b"replicating")

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
