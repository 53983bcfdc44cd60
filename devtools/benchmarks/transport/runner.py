"""Runs every contestant in turn, round after round, each in a process of its own, and counts the records.

In: sizes and a broker. Out: the measured values by contestant. A run with a missing record stops the benchmark: its
figure would be a lie.
"""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

from devtools.benchmarks.transport import topics
from devtools.benchmarks.transport.baselines.task import Task, TaskResult
from devtools.benchmarks.transport.latency import p99_ms

VALUE = b"x" * 100
REGIONS = (b"us", b"eu", b"asia")


class RecordsMissing(Exception):
    """A contestant did not see, or did not write, every record: no figure is given."""

    def __init__(self, contestant: str, found: int, wanted: int) -> None:
        super().__init__(f"{contestant}: {found} of {wanted} records; no figures for a run that lost some")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much each contestant gets. Stock Faust is slow and gets less; its pace does not depend on it."""

    read: int = 1_000_000
    read_stock: int = 20_000
    copy: int = 400_000
    recover: int = 400_000
    recover_stock: int = 20_000
    latency: int = 1000
    memory: int = 1_000_000
    rounds: int = 3
    timeout_s: float = 180.0


@dataclass(slots=True)
class Bench:
    """One run of the benchmark."""

    bootstrap: str
    sizes: Sizes
    say: Callable[[str], None]
    only: tuple[str, ...] = ()
    prefix: str = field(default_factory=lambda: f"bench-{uuid.uuid4().hex[:8]}")
    made: list[str] = field(default_factory=list)
    runs: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    async def run(self) -> Mapping[str, list[float]]:
        """All rounds.

        Raises:
            RecordsMissing: a run lost records.
            RuntimeError: a contestant failed.
        """
        try:
            sources = await self._sources()
            for round_ in range(1, self.sizes.rounds + 1):
                self.say(f"round {round_} of {self.sizes.rounds}")
                await self._reading(sources)
                await self._copying(sources)
                await self._recovering(sources)
                await self._latency()
                if round_ == 1:
                    await self._memory(sources)
            return self.runs
        finally:
            await topics.delete(self.bootstrap, self.made)

    def _wanted(self, contestant: str) -> bool:
        return not self.only or contestant.split()[0] in self.only

    async def _topic(self, name: str, *, compacted: bool = False) -> str:
        self.made.append(f"{self.prefix}-{name}")
        return await topics.create(self.bootstrap, self.made[-1], compacted=compacted)

    async def _sources(self) -> dict[str, str]:
        sizes = self.sizes
        contents = {
            "read": (sizes.read, lambda _: VALUE),
            "copy": (sizes.copy, lambda _: VALUE),
            "recover": (sizes.recover, lambda _: VALUE),
            "recover_stock": (sizes.recover_stock, lambda _: VALUE),
            "region": (sizes.memory, lambda number: REGIONS[number % 3]),
            "preferences": (sizes.memory, lambda number: number.to_bytes(12, "big")),
        }
        sources = {}
        for name, (count, value) in contents.items():
            kind = {"region": "memory", "preferences": "memory", "recover_stock": "recover"}.get(name, name)
            if self._wanted(kind):
                self.say(f"filling {name}: {count} records")
                sources[name] = await self._topic(name, compacted=name != "read" and name != "copy")
                await topics.fill(self.bootstrap, sources[name], count, value)
        sources["idle"] = await self._topic("idle")
        return sources

    async def _reading(self, sources: Mapping[str, str]) -> None:
        for contestant, records in (
            ("read batched", self.sizes.read),
            ("read bare aiokafka", self.sizes.read),
            ("read stock Faust", self.sizes.read_stock),
        ):
            if self._wanted(contestant):
                await self._measure(Task(contestant, self.bootstrap, self._group(), sources["read"], records))

    async def _copying(self, sources: Mapping[str, str]) -> None:
        for contestant in ("copy batched", "copy bare aiokafka", "copy librdkafka"):
            if self._wanted(contestant):
                target = await self._topic(f"copy-{uuid.uuid4().hex[:6]}")
                await self._measure(
                    Task(contestant, self.bootstrap, self._group(), sources["copy"], self.sizes.copy, target)
                )
                written = await topics.count(self.bootstrap, target)
                if written < self.sizes.copy:
                    raise RecordsMissing(contestant, written, self.sizes.copy)

    async def _recovering(self, sources: Mapping[str, str]) -> None:
        for contestant in (
            "recover batched memory",
            "recover stock memory",
            "recover batched rocks",
            "recover stock rocks",
        ):
            if not self._wanted(contestant):
                continue
            group, source, records = self._group(), sources["recover"], self.sizes.recover
            if "stock" in contestant:
                # Stock Faust names a changelog after the app and the table: a copy of its own for each run.
                records = self.sizes.recover_stock
                self.made.append(f"{group}-rows-changelog")
                source = await topics.create(self.bootstrap, self.made[-1], compacted=True)
                await topics.fill(self.bootstrap, source, records, lambda _: VALUE)
            await self._measure(
                Task(contestant, self.bootstrap, group, source, records, sources["idle"], table_name="rows")
            )

    async def _memory(self, sources: Mapping[str, str]) -> None:
        for contestant in (
            "memory region memory", "memory region rocks", "memory preferences memory", "memory preferences rocks",
        ):  # fmt: skip
            if self._wanted(contestant):
                source = sources[contestant.split()[1]]
                await self._measure(Task(contestant, self.bootstrap, self._group(), source, self.sizes.memory))

    async def _latency(self) -> None:
        for contestant in ("latency batched", "latency bare aiokafka"):
            if not self._wanted(contestant):
                continue
            source, target = (
                await self._topic(f"in-{uuid.uuid4().hex[:6]}"),
                await self._topic(f"out-{uuid.uuid4().hex[:6]}"),
            )
            # One record more than are sent: it runs until it is ended.
            task = Task(contestant, self.bootstrap, self._group(), source, 10**9, target)
            process = await _start(task)
            try:
                arrived, p99 = await p99_ms(self.bootstrap, source, target, self.sizes.latency)
            finally:
                process.kill()
                await process.wait()
            if arrived < self.sizes.latency:
                raise RecordsMissing(contestant, arrived, self.sizes.latency)
            self._note(contestant, p99, "ms")

    async def _measure(self, task: Task) -> None:
        process = await _start(task)
        try:
            out, _ = await asyncio.wait_for(process.communicate(), self.sizes.timeout_s)
        except TimeoutError:
            raise RecordsMissing(task.contestant, 0, task.records) from None
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode or not out.strip():
            raise RuntimeError(f"{task.contestant} failed with status {process.returncode}")
        outcome = TaskResult(**json.loads(out.splitlines()[-1]))
        if outcome.records < task.records:
            raise RecordsMissing(task.contestant, outcome.records, task.records)
        if outcome.value is not None:
            self._note(task.contestant, outcome.value, "MB")
        else:
            self._note(task.contestant, outcome.records / outcome.seconds, "/s")

    def _note(self, contestant: str, value: float, unit: str) -> None:
        self.runs[contestant].append(value)
        self.say(f"  {contestant}: {value:,.1f} {unit}")

    def _group(self) -> str:
        return f"{self.prefix}-{uuid.uuid4().hex[:8]}"


async def _start(task: Task) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"{__package__}.contestants",
        json.dumps(asdict(task)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
