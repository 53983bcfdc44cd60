"""Those who must name a fault: page, alerts, `doctor`, `why`, logs."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson

from devtools.subprocesses import python_module, stop
from notify_streams.app import web_port
from notify_streams.roles import VIEWS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Self

    from notify_streams.settings import Settings

#: Of an answer of the page; it takes a moment while the machine is busy.
_PAGE_TIMEOUT: Final = aiohttp.ClientTimeout(total=5.0)
_COMMAND_S: Final = 90.0
_SHOWN_CHARACTERS: Final = 400


@dataclass(frozen=True, slots=True)
class Seen:
    """A witness has named a fault."""

    #: Since the fault began, or ended.
    after_s: float
    #: The words.
    text: str


async def first_seen(
    look: Callable[[], Awaitable[str | None]], since: float, limit_s: float, every_s: float = 0.5
) -> Seen | None:
    """The first words of `look`, asked until `limit_s` after `since` (monotonic); None: it found none in time."""
    while time.monotonic() - since < limit_s:
        if (text := await look()) is not None:
            return Seen(round(time.monotonic() - since, 1), text[:_SHOWN_CHARACTERS])
        await asyncio.sleep(every_s)
    return None


class Page:
    """``async with Page(settings) as page``: the status that the role `views` gives at `/region`."""

    def __init__(self, settings: Settings) -> None:
        token = settings.web_read_token
        self._url = f"http://127.0.0.1:{web_port(settings, VIEWS)}/region"
        headers = {"Authorization": f"Bearer {token.reveal()}"} if token is not None else {}
        self._http = aiohttp.ClientSession(timeout=_PAGE_TIMEOUT, headers={**headers, "Accept": "application/json"})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def verdict(self) -> dict[str, Any] | None:
        """The verdict: `headline`, `now`, `last_hour`; None: no answer."""
        try:
            async with self._http.get(self._url) as response:
                found: dict[str, Any] = orjson.loads(await response.read())
                return dict(found["verdict"]) if response.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError):
            return None

    async def headline_with(self, code: str, named_in: Callable[[str], bool]) -> str | None:
        """The first line, if it names the problem `code`."""
        verdict = await self.verdict()
        if verdict is None or code not in codes(verdict["now"]):
            return None
        headline = str(verdict["headline"])
        return headline if named_in(headline) else None

    async def quiet(self) -> str | None:
        """The first line, if nothing is wrong now."""
        verdict = await self.verdict()
        return None if verdict is None or verdict["now"] else str(verdict["headline"])

    async def without(self, code: str) -> str | None:
        """The first line, if the problem `code` is none now."""
        verdict = await self.verdict()
        return None if verdict is None or code in codes(verdict["now"]) else str(verdict["headline"])

    async def past(self, code: str) -> str | None:
        """What the last hour tells of an ended problem."""
        verdict = await self.verdict()
        found = [] if verdict is None else [one for one in verdict["last_hour"] if one["code"] == code]
        return str(found[0]["text"]) if found else None


def codes(problems: Sequence[Mapping[str, Any]]) -> list[str]:
    """The codes of problems."""
    return [str(one["code"]) for one in problems]


class Commands:
    """Runs `doctor` and `why` as an operator does."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        """`environ`: the whole environment of the commands."""
        self._region = settings.region
        self._environ = environ

    async def doctor_line(self, named_in: Callable[[str], bool]) -> str | None:
        """The first line of `doctor` that names the fault, as soon as it is printed; None: no line does."""
        with suppress(TimeoutError):
            async with (
                self._started("doctor", stderr=asyncio.subprocess.DEVNULL) as doctor,
                asyncio.timeout(_COMMAND_S),
            ):
                assert doctor.stdout is not None
                async for raw in doctor.stdout:
                    line = raw.decode(errors="replace").rstrip()
                    if line.startswith("WRONG") and named_in(line):
                        return line
        return None

    async def why(self, trigger_id: str) -> str:
        """What `why` says of a trigger."""
        async with self._started("why", trigger_id, stderr=asyncio.subprocess.PIPE) as process:
            try:
                out, error = await asyncio.wait_for(process.communicate(), _COMMAND_S)
            except TimeoutError:
                return f"no answer within {_COMMAND_S:.0f} s"
        return (out or error).decode(errors="replace").strip()

    @asynccontextmanager
    async def _started(self, *arguments: str, stderr: int) -> AsyncIterator[asyncio.subprocess.Process]:
        """A command of this region; it is stopped at the end of the block."""
        command = python_module("notify_streams.cli", *arguments, "--region", self._region)
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=stderr, env=dict(self._environ)
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                await stop(process)


class Logs:
    """The logs of workers, from now on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._begin = {file: file.stat().st_size for file in folder.glob("*.log")}

    def line_with(self, pattern: str) -> str | None:
        """A line that was written since, in short: the worker, its action and the words that the pattern found."""
        for file in sorted(self._folder.glob("*.log")):
            with file.open("rb") as log:
                log.seek(self._begin.get(file, 0))
                lines = log.read().decode(errors="replace").splitlines()
            for line in lines:
                if re.search(pattern, line) and (shown := _in_short(line)) is not None:
                    return f"{file.stem}: {shown}"
        return None


def _in_short(line: str) -> str | None:
    """Level, message and action of a line at WARNING or above; None: it is not one of a worker."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if record.get("level") not in ("WARNING", "ERROR", "CRITICAL"):
        return None
    known = [
        f"{name}={record[name]}" for name in ("action", "call", "provider", "to", "shard", "error") if name in record
    ]
    # A message may go on with a stack.
    first, _, _ = str(record["message"]).partition("\n")
    return f"{record['level']} {first} ({', '.join(known)})"[:_SHOWN_CHARACTERS]
