"""The local services of several regions in one folder.

`<folder>/state.json` has the plan of each region. So a later process uses the same ports, and can stop what an earlier
process started, even if that was killed.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from devtools.private_file import write_private
from devtools.stack import external_services, kafka_rights, maven, settings_overlay
from devtools.stack.errors import StackFailed
from devtools.stack.paths import stack_folder
from devtools.stack.ports import free_port, is_free
from devtools.stack.process import Process
from devtools.stack.region import Region
from devtools.stack.region_plan import RegionPlan, all_ports, plan_region
from devtools.stack.replicator_service import ReplicatorService
from notify_streams.settings import load_settings

Report = Callable[[str], None]


def _silent(line: str) -> None:
    return


@contextlib.contextmanager
def _interruption_said(report: Report) -> Iterator[None]:
    """After Ctrl-C it says at once what goes on without the command.

    Threads that wait for a service end with it, within its limit.
    """
    try:
        yield
    except KeyboardInterrupt:
        report(
            "interrupted: services that run, or that have begun to start, go on; `notify-streams stack down` stops them, "
            "`notify-streams stack up` starts the rest"
        )
        raise


class Stack:
    """`up` and `down` hold a lock on the folder; the other methods only read."""

    def __init__(
        self, folder: Path | None = None, environment: Mapping[str, str] = os.environ, *, secure: bool = False
    ) -> None:
        """`secure`: of regions that are up for the first time, if `up` is not given it."""
        self._secure = secure
        self.folder = (folder or stack_folder(environment)).absolute()
        self._environment = environment

    def up(
        self,
        regions: Sequence[str],
        members: int | None = None,
        report: Report = _silent,
        *,
        secure: bool | None = None,
    ) -> list[str]:
        """Start these regions concurrently and write the settings file of every running region.

        `members` of each shard: by default as before, else 1. `secure`: Kafka, MongoDB and Valkey want a log-in, and Kafka gives each
        client only the rights that it needs; by default as before. Returns the names of the components that this call started.

        Raises:
            StackFailed: some did not start. The others run, and a later `up` continues from there.
        """
        external = external_services.external_uris(self._environment)
        if external and len(regions) > 1:
            variables = ", ".join(external_services.VARIABLES[service] for service in external)
            raise StackFailed(f"{variables} can be used for one region only, not for {', '.join(regions)}")
        with self._locked(report):
            plans = self._plans()
            for name in regions:
                usable = partial(self._usable, name)
                others = all_ports([plan for region, plan in plans.items() if region != name])
                before = plans.get(name)
                wanted = secure if secure is not None else before.secure if before else self._secure
                if external and wanted:
                    raise StackFailed(
                        "the services of a secure region are all of the stack: unset the NOTIFY_ variables of others"
                    )
                if before and before.secure != wanted:
                    raise StackFailed(
                        f"region {name} was created {'with' if before.secure else 'without'} --secure: "
                        f"`notify-streams stack down --regions {name} --wipe` removes it"
                    )
                plans[name] = plan_region(before, members, external, usable, free_port, others, wanted)
            self._save(plans)
            if absent := maven.missing():
                report(f"downloading {' and '.join(absent)} (once, about half a minute)")
                maven.fetch(absent)
            with ThreadPoolExecutor(len(regions)) as pool, _interruption_said(report):
                futures = [pool.submit(self.region(name).start, report) for name in regions]
                wait(futures)
            if failures := [str(error) for future in futures if (error := future.exception())]:
                raise StackFailed("\n".join(failures))
            with _interruption_said(report):
                self._write_settings()
                for name in regions:
                    self._give_rights(self.region(name))
                self.replicator.restart_if_changed()
            return [component for future in futures for component in future.result()]

    def down(self, regions: Sequence[str] | None = None, wipe: bool = False) -> None:
        """Stop the services of these regions (default: all). `wipe` removes their data, ports and tokens, too."""
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
                self._save(plans)
            self._write_settings()
            self.replicator.restart_if_changed()
            if not plans:
                shutil.rmtree(self.replicator.folder, ignore_errors=True)
                (self.folder / "state.json").unlink(missing_ok=True)

    def region(self, name: str) -> Region:
        """A region as `up` planned it; its services may not run."""
        plan = self._plans().get(name)
        if plan is None:
            raise StackFailed(f"there is no region {name} in {self.folder}: notify-streams stack up --regions {name}")
        return Region(name, self.folder / name, plan)

    @property
    def replicator(self) -> ReplicatorService:
        """Copies the registry between the regions; runs while two or more are up."""
        return ReplicatorService(self.folder / "replication", [self.region(name) for name in self.regions])

    @property
    def regions(self) -> list[str]:
        """The regions after `up` and before `down`."""
        return [name for name, plan in self._plans().items() if plan.wanted]

    def settings(self, name: str) -> dict[str, Any]:
        """The contents of `settings_file`."""
        return settings_overlay.overlay(self.region(name), self._others(name))

    def _others(self, name: str) -> dict[str, Region]:
        return {other: self.region(other) for other in self.regions if other != name}

    def settings_file(self, name: str) -> Path:
        return self.folder / f"{name}.yaml"

    def _write_settings(self) -> None:
        for name in self.regions:
            settings_overlay.write(self.settings_file(name), self.settings(name))

    def worker_environ(self, region: str, role: str) -> dict[str, str]:
        """The variables that a worker needs besides the settings file: its own log-ins, in a secure region."""
        return settings_overlay.worker_environ(self.region(region), role, self._others(region))

    def _give_rights(self, region: Region) -> None:
        if region.credentials is not None:
            overlay = self.settings_file(region.name)
            settings = load_settings(region.name, environ=self._environment, overlay=overlay)
            kafka_rights.give(region.kafka.address, region.credentials, settings)

    def _usable(self, region: str, name: str, port: int) -> bool:
        """Whether a planned port is free or used by our own process."""
        service = "sandbox" if name.startswith("sandbox.") else name.removesuffix(".controller").replace(".", "/")
        return Process(self.folder / region / service).pid is not None or name == "web" or is_free(port)

    def _plans(self) -> dict[str, RegionPlan]:
        file = self.folder / "state.json"
        try:
            return msgspec.json.decode(file.read_bytes(), type=dict[str, RegionPlan])
        except FileNotFoundError:
            return {}
        except msgspec.DecodeError as error:
            raise StackFailed(f"{file} was not written by `stack` ({error}); remove {self.folder}") from None

    def _save(self, plans: Mapping[str, RegionPlan]) -> None:
        write_private(self.folder / "state.json", msgspec.json.format(msgspec.json.encode(plans)).decode())

    @contextlib.contextmanager
    def _locked(self, report: Report) -> Iterator[None]:
        """One command at a time in this folder. The kernel releases the lock of a killed process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                report(f"waiting for another stack command that uses {self.folder}")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
