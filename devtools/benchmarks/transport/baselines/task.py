"""What a contestant is told and what it answers, as one JSON line each way.

In: the parent's request. Out: a frozen `Task`; an `TaskResult` on stdout.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from typing import Any

import faust

from notify_streams.transport import TransportSettings, attach


@dataclass(frozen=True, slots=True)
class Task:
    """One run of one contestant."""

    contestant: str
    bootstrap: str
    group: str
    source: str
    #: How many records must be seen; fewer is no result.
    records: int
    target: str = ""
    #: How many the source holds, where a slow contestant reads only some of them.
    table_name: str = ""


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What a run did. `value` is the figure where it is not records a second."""

    records: int
    seconds: float
    value: float | None = None

    def line(self) -> str:
        return json.dumps(asdict(self))


def an_app(task: Task, scheme: str, **options: Any) -> faust.App:
    """A Faust app for a contestant: stock (`kafka`) or ours (`batched`), with the same uncompressed producer."""
    app = faust.App(
        task.group,
        broker=f"{scheme}://{task.bootstrap}",
        datadir=tempfile.mkdtemp(prefix="bench-"),
        web_enabled=False,
        topic_disable_leader=True,
        stream_wait_empty=False,
        **options,
    )
    attach(app, TransportSettings(compression=None))
    return app
