"""A real Prometheus: scrapes workers, evaluates `monitoring/alerts.yaml`."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import yaml

from devtools.stack.errors import StackFailed
from devtools.stack.paths import PROJECT
from devtools.stack.ports import free_port
from devtools.subprocesses import stop

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path
    from typing import Self

#: Between two scrapes of a worker, as docs/runbooks.md recommends. The rules have their own intervals.
SCRAPE_S: Final = 5
#: Rules of the group `notify-streams-now` are evaluated so often.
_EVALUATE_S: Final = 5
_START_S: Final = 60.0
_POLL_S: Final = 0.2
_TIMEOUT: Final = aiohttp.ClientTimeout(total=5.0)


def prometheus_program() -> str | None:
    """The server that `scripts/promtool` has put into `.cache/bin`, or that of this machine; None: there is none."""
    found = PROJECT / ".cache" / "bin" / "prometheus"
    return str(found) if found.exists() else shutil.which("prometheus")


class Prometheus:
    """``async with Prometheus(folder, targets) as prometheus``: a server that runs meanwhile.

    Its data and its log are in `folder`.
    """

    def __init__(self, folder: Path, targets: Collection[str]) -> None:
        """`targets`: ``host:port`` of each worker, also of those that do not run yet."""
        self._folder = folder
        self._targets = sorted(targets)
        self._url = ""
        self._process: asyncio.subprocess.Process | None = None
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Start it.

        Raises:
            StackFailed: there is no Prometheus here, or it is not ready within a minute.
        """
        program = prometheus_program()
        if program is None:
            raise StackFailed("there is no prometheus on this machine: scripts/promtool downloads it from Debian")
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(_config(self._targets)))
        address = f"127.0.0.1:{free_port()}"
        self._url = f"http://{address}"
        command = [program, f"--config.file={file}", f"--storage.tsdb.path={self._folder / 'data'}"]
        command += [f"--web.listen-address={address}", "--log.level=warn"]
        with (self._folder / "log.txt").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
        self._http = aiohttp.ClientSession(timeout=_TIMEOUT)
        try:
            async with asyncio.timeout(_START_S):
                await self._wait_until_ready()
        except TimeoutError:
            await self.__aexit__()
            raise StackFailed(f"Prometheus is not ready after {_START_S:.0f} s: {self._folder / 'log.txt'}") from None
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.close()
        if self._process is not None:
            await stop(self._process)

    async def firing(self) -> dict[str, str]:
        """The alerts that fire now with their summaries; of several with the same name one."""
        found = await self._get("/api/v1/alerts")
        return {
            one["labels"]["alertname"]: one["annotations"]["summary"]
            for one in found["alerts"]
            if one["state"] == "firing"
        }

    async def value(self, query: str) -> float | None:
        """The value of an expression that gives one sample; None without a sample."""
        found = await self._get("/api/v1/query", query=query)
        return float(found["result"][0]["value"][1]) if found["result"] else None

    async def _get(self, path: str, **parameters: str) -> dict[str, Any]:
        assert self._http is not None
        async with self._http.get(f"{self._url}{path}", params=parameters) as response:
            content: dict[str, Any] = (await response.json())["data"]
            return content

    async def _wait_until_ready(self) -> None:
        assert self._http is not None
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                async with self._http.get(f"{self._url}/-/ready") as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(_POLL_S)


def _config(targets: list[str]) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{_EVALUATE_S}s"},
        "rule_files": [str(PROJECT / "monitoring" / "alerts.yaml")],
        "scrape_configs": [{"job_name": "notify-streams", "static_configs": [{"targets": targets}]}],
    }
