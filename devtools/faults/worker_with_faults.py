"""`notify-streams` with an agent that a file makes fail or hang while it runs.

``WORKER_FAULT_FILE`` names the file; while it is absent nothing is changed. Its content is one of

- ``fail TOPIC PARTITION``: a batch of this partition raises at every delivery, as a record does that this version cannot process;
- ``hang``: no batch of any partition ends, as in an agent that waits for something that never comes.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from notify_streams import partition_concurrency

if TYPE_CHECKING:
    from faust.types import StreamT

    from notify_streams.partition_concurrency import Process
    from notify_streams.transport import BatchEvent

VARIABLE: Final = "WORKER_FAULT_FILE"
HANG: Final = "hang"
_LOOK_S: Final = 0.2


class BatchFailed(Exception):
    """What a batch raises while the file says that it fails."""


def failing(topic: str, partition: int) -> str:
    """The content of the file that makes the batches of a partition fail."""
    return f"fail {topic} {partition}"


def add_faults(file: Path) -> None:
    """Let agents do what `file` says. Before they are imported: they take the function that is replaced here."""
    process_partitions = partition_concurrency.process_partitions_concurrently

    def wanted() -> str:
        try:
            return file.read_text().strip()
        except FileNotFoundError:
            return ""

    async def with_faults(stream: StreamT[Any], process: Process, pause_s: float = 1.0) -> None:
        async def faulty(event: BatchEvent) -> None:
            while True:
                now = wanted()
                if now != HANG:
                    break
                await asyncio.sleep(_LOOK_S)
            if now == failing(event.message.topic, event.message.partition):
                raise BatchFailed
            await process(event)

        await process_partitions(stream, faulty, pause_s)

    partition_concurrency.process_partitions_concurrently = with_faults


if __name__ == "__main__":
    from notify_streams.cli.main import main

    add_faults(Path(os.environ[VARIABLE]))
    main()
