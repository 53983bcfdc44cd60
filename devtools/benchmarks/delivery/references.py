"""Runs the references of `bench delivery`: bare senders of the same requests."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from devtools import subprocesses
from devtools.benchmarks.delivery.access_log import accepted_per_s
from devtools.benchmarks.rates import RecordsMissing
from devtools.subprocesses import python_module

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from devtools.benchmarks.delivery.sink import Sink

AIOHTTP: Final = "aiohttp loop"
GO: Final = "Go net/http"
#: Requests at once: the default of a worker's `providers.max_in_flight`.
_CONCURRENCY: Final = 256
_GO_SOURCE: Final = Path(__file__).with_name("bare_sender.go")


@dataclass(frozen=True, slots=True)
class SenderRun:
    """Requests per second, and microseconds of CPU a request."""

    per_s: float
    cpu_us: float


async def senders(folder: Path) -> dict[str, tuple[str, ...]]:
    """The command of each reference; of Go only where `go` is installed.

    Raises:
        NotifyError: the Go sender does not compile.
    """
    found = {AIOHTTP: python_module("devtools.benchmarks.delivery.bare_sender")}
    if (go := shutil.which("go", path=os.environ.get("PATH", "") + os.pathsep + "/usr/local/go/bin")) is not None:
        program = folder / "bare_sender"
        # No other version of Go is downloaded.
        environ = {**os.environ, "GOTOOLCHAIN": "local"}
        await subprocesses.run((go, "build", "-o", str(program), str(_GO_SOURCE)), env=environ)
        found[GO] = (str(program),)
    return found


async def measure_senders(
    commands: Mapping[str, tuple[str, ...]], sink: Sink, folder: Path, bodies: Sequence[bytes]
) -> dict[str, SenderRun]:
    """Each sender posts `bodies` once.

    Raises:
        RecordsMissing: the sink's log has fewer.
    """
    file = folder / "bodies"
    file.write_bytes(b"\n".join(bodies))
    arguments = sink.url, str(sink.ca_file), str(file), str(_CONCURRENCY)
    found: dict[str, SenderRun] = {}
    for name, command in commands.items():
        out = json.loads(await subprocesses.run((*command, *arguments)))
        accepted = await asyncio.to_thread(sink.take, len(bodies))
        if out["accepted"] != len(bodies) or sorted(one.body for one in accepted) != sorted(bodies):
            raise RecordsMissing(name, len(accepted), len(bodies))
        found[name] = SenderRun(accepted_per_s(accepted), 1e6 * out["cpu_s"] / len(bodies))
    return found
