"""The stack of several regions in one folder. In: which regions; out: running services and a settings file for each region.

Everything is remembered in `<folder>/state.json`, so any later process finds the same ports and can end what an earlier one
began, also one that was killed halfway. It refuses to know how a service runs.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from devtools.stack import external_services, maven, settings_overlay
from devtools.stack.errors import StackFailed
from devtools.stack.paths import stack_folder
from devtools.stack.ports import free_port, is_free
from devtools.stack.process import Process
from devtools.stack.region import Region
from devtools.stack.region_plan import RegionPlan, all_ports, planned
from devtools.stack.replicator_service import Replication

Say = Callable[[str], None]


def _silent(line: str) -> None:
    return


class Stack:
    """`up` and `down` hold a lock of the folder; everything else only reads."""

    def __init__(self, folder: Path | None = None, environment: Mapping[str, str] = os.environ) -> None:
        self.folder = (folder or stack_folder(environment)).absolute()
        self._environment = environment

    def up(self, regions: Sequence[str], members: int | None = None, say: Say = _silent) -> list[str]:
        """Start what does not run of these regions, all at once, and write every running region's settings file.

        Returns the names of the services that this call started. `members` of each shard: by default as before, else 1.
        Raises `StackFailed`; what did start stays, and a later `up` continues from there.
        """
        named = external_services.named_in(self._environment)
        if named and len(regions) > 1:
            variables = ", ".join(external_services.VARIABLES[service] for service in named)
            raise StackFailed(f"{variables} can stand for one region only, not for {', '.join(regions)}")
        with self._locked(say):
            plans = self._plans()
            for name in regions:
                usable = partial(self._usable, name)
                others = all_ports([plan for region, plan in plans.items() if region != name])
                plans[name] = planned(plans.get(name), members, named, usable, free_port, others)
            self._remember(plans)
            if absent := maven.missing():
                say(f"fetching {' and '.join(absent)} (once, about half a minute)")
                maven.fetch(absent)
            with ThreadPoolExecutor(len(regions)) as pool:
                futures = [pool.submit(self.region(name).start, say) for name in regions]
            if failures := [str(error) for future in futures if (error := future.exception())]:
                raise StackFailed("\n".join(failures))
            self._write_settings()
            self.replication.follow()
            return [service for future in futures for service in future.result()]

    def down(self, regions: Sequence[str] | None = None, wipe: bool = False) -> None:
        """End our processes of these regions (default: all). Data stays, unless `wipe`: then ports and tokens go too."""
        with self._locked(_silent):
            plans = self._plans()
            for name in regions or list(plans):
                if name not in plans:
                    continue
                self.region(name).stop()
                self.settings_file(name).unlink(missing_ok=True)
                plans[name] = msgspec.structs.replace(plans[name], wanted=False)
                if wipe:
                    shutil.rmtree(self.folder / name, ignore_errors=True)
                    del plans[name]
                self._remember(plans)
            self._write_settings()
            self.replication.follow()
            if not plans:
                shutil.rmtree(self.replication.folder, ignore_errors=True)

    def region(self, name: str) -> Region:
        """The region as it was last brought up; its parts may be dead by now."""
        plan = self._plans().get(name)
        if plan is None:
            raise StackFailed(f"there is no region {name} in {self.folder}: notify-streams stack up --regions {name}")
        return Region(name, self.folder / name, plan)

    @property
    def replication(self) -> Replication:
        """What copies the registry between the regions that are meant to be up; it runs while there are several."""
        return Replication(self.folder / "replication", [self.region(name) for name in self.regions])

    @property
    def regions(self) -> list[str]:
        """Those that are meant to be up."""
        return [name for name, plan in self._plans().items() if plan.wanted]

    def settings(self, name: str) -> dict[str, Any]:
        """The overlay of a region: see `settings_file`, which holds the same."""
        others = {other: self.region(other) for other in self.regions if other != name}
        return settings_overlay.overlay(self.region(name), others)

    def settings_file(self, name: str) -> Path:
        return self.folder / f"{name}.yaml"

    def _write_settings(self) -> None:
        for name in self.regions:
            settings_overlay.write(self.settings_file(name), self.settings(name))

    def _usable(self, region: str, name: str, port: int) -> bool:
        """A remembered port is good while our own process has it, or nobody."""
        service = "sandbox" if name.startswith("sandbox.") else name.removesuffix(".controller").replace(".", "/")
        return Process(self.folder / region / service).pid is not None or name == "web" or is_free(port)

    def _plans(self) -> dict[str, RegionPlan]:
        try:
            return msgspec.json.decode((self.folder / "state.json").read_bytes(), type=dict[str, RegionPlan])
        except FileNotFoundError:
            return {}
        except msgspec.DecodeError as error:
            raise StackFailed(
                f"{self.folder / 'state.json'} is not what `stack` wrote ({error}); remove {self.folder}"
            ) from None

    def _remember(self, plans: Mapping[str, RegionPlan]) -> None:
        fresh = self.folder / "state.json.new"
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(plans)))
        fresh.rename(self.folder / "state.json")

    @contextlib.contextmanager
    def _locked(self, say: Say) -> Iterator[None]:
        """One command at a time in this folder. The kernel drops the lock of a killed one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("another stack command is at work here; waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
