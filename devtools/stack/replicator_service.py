"""The registry replicator as a service: one process for all regions of a stack."""

import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from devtools.stack.paths import PROJECT
from devtools.stack.region import Region
from devtools.stack.service import Service


class ReplicatorService(Service):
    """Runs `dynamodb_replicator`, which continues from the positions in its folder."""

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

    def is_healthy(self) -> bool:
        """Whether it runs. It has no health endpoint, and retries while a region is down."""
        return self.process.pid is not None

    def restart_if_changed(self) -> None:
        """Run for exactly these regions: restart if they have changed, stop if there are fewer than two."""
        file = self.folder / "regions"
        wanted = "\n".join(self._urls)
        if self.process.pid is not None and (len(self._urls) < 2 or not file.exists() or file.read_text() != wanted):
            self.stop()
        if len(self._urls) > 1 and self.process.pid is None:
            self.start()
            file.write_text(wanted)
