"""The replicator as a service: one process for the whole stack while more than one region is up. In: the regions; out: its life.

What it does is in `replicator`; this file refuses to know it.
"""

import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from devtools.stack.paths import PROJECT
from devtools.stack.region import Region
from devtools.stack.service import Service


class Replication(Service):
    """Copies the registry between the regions' DynamoDB; positions are files in its folder, so that it goes on where it stopped."""

    def __init__(self, folder: Path, regions: Collection[Region]) -> None:
        super().__init__("replication", folder)
        self._urls = sorted(f"{region.name}={region.dynamodb.address}" for region in regions)

    @property
    def address(self) -> str:
        return " ".join(self._urls)

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "devtools.stack.dynamodb_replicator", str(self.folder), *self._urls]

    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(PROJECT)}

    def answers(self) -> bool:
        """It has nothing to ask; a region that is away is its daily business."""
        return self.process.pid is not None

    def follow(self) -> None:
        """Run for exactly these regions: with fewer than two there is nothing to copy."""
        told = self.folder / "regions"
        wanted = "\n".join(self._urls)
        if self.process.pid is not None and (len(self._urls) < 2 or not told.exists() or told.read_text() != wanted):
            self.stop()
        if len(self._urls) > 1 and self.process.pid is None:
            self.start()
            told.write_text(wanted)
