"""Runs every case in turn, each in its own process, and counts the records.

A run that lost a record stops the benchmark: its figure would be wrong.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Final

from devtools import subprocesses
from devtools.benchmarks.rates import RecordsMissing
from devtools.benchmarks.transport import topics
from devtools.benchmarks.transport.cases.task import Task, TaskResult
from devtools.benchmarks.transport.latency import arrival_times
from devtools.percentiles import percentiles_of
from devtools.subprocesses import python_module
from notify_streams.cli.output import print_progress

VALUE: Final = b"x" * 100
REGIONS: Final = (b"us", b"eu", b"asia")
#: More records than are sent: the case runs until it is stopped.
_ENDLESS: Final = 10**9


@dataclass(frozen=True, slots=True)
class Sizes:
    """Records for each case. Stock Faust is slow and gets fewer; its rate does not depend on their number."""

    read: int = 1_000_000
    read_stock: int = 20_000
    copy: int = 400_000
    recover: int = 400_000
    recover_stock: int = 20_000
    latency: int = 1000
    memory: int = 1_000_000
    rounds: int = 3
    timeout_s: float = 180.0


def command(task: Task) -> tuple[str, ...]:
    """The command that runs a case."""
    return python_module("devtools.benchmarks.transport.cases", json.dumps(asdict(task)))


@dataclass(slots=True)
class Runner:
    """One run of the benchmark."""

    bootstrap: str
    sizes: Sizes
    only: tuple[str, ...] = ()
    prefix: str = field(default_factory=lambda: f"bench-{uuid.uuid4().hex[:8]}")
    created: list[str] = field(default_factory=list)
    runs: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    async def run(self) -> Mapping[str, list[float]]:
        """Run all rounds; returns the measured values by case.

        Raises:
            RecordsMissing: a run lost records.
            NotifyError: a case failed.
        """
        try:
            sources = await self._sources()
            for round_ in range(1, self.sizes.rounds + 1):
                print_progress(f"round {round_} of {self.sizes.rounds}")
                await self._read(sources)
                await self._copy(sources)
                await self._recover(sources)
                await self._latency()
                if round_ == 1:
                    await self._memory(sources)
            return self.runs
        finally:
            await topics.delete(self.bootstrap, self.created)

    def _wanted(self, *cases: str) -> list[str]:
        return [case for case in cases if not self.only or case.split()[0] in self.only]

    async def _topic(self, name: str, *, compacted: bool = False) -> str:
        self.created.append(name if name.startswith(self.prefix) else f"{self.prefix}-{name}")
        return await topics.create(self.bootstrap, self.created[-1], compacted=compacted)

    async def _sources(self) -> dict[str, str]:
        """Topic names by what they are for: one filled topic for each kind of case, and an empty one."""
        sizes = self.sizes
        contents: dict[str, tuple[str, int, Callable[[int], bytes]]] = {
            "read": ("read", sizes.read, lambda _: VALUE),
            "copy": ("copy", sizes.copy, lambda _: VALUE),
            "recover": ("recover", sizes.recover, lambda _: VALUE),
            "region": ("memory", sizes.memory, lambda number: REGIONS[number % 3]),
            "preferences": ("memory", sizes.memory, lambda number: number.to_bytes(12, "big")),
        }
        sources = {"idle": await self._topic("idle")}
        for name, (kind, count, value) in contents.items():
            if self._wanted(kind):
                print_progress(f"filling {name}: {count} records")
                sources[name] = await self._topic(name, compacted=name not in ("read", "copy"))
                await topics.fill(self.bootstrap, sources[name], count, value)
        return sources

    async def _read(self, sources: Mapping[str, str]) -> None:
        for case in self._wanted("read batched", "read aiokafka", "read stock Faust"):
            records = self.sizes.read_stock if "stock" in case else self.sizes.read
            await self._measure(Task(case, self.bootstrap, self._group(), sources["read"], records))

    async def _copy(self, sources: Mapping[str, str]) -> None:
        for case in self._wanted("copy batched", "copy aiokafka", "copy librdkafka"):
            target = await self._topic(f"copy-{uuid.uuid4().hex[:6]}")
            await self._measure(Task(case, self.bootstrap, self._group(), sources["copy"], self.sizes.copy, target))
            written = await topics.count(self.bootstrap, target)
            if written < self.sizes.copy:
                raise RecordsMissing(case, written, self.sizes.copy)

    async def _recover(self, sources: Mapping[str, str]) -> None:
        for case in self._wanted(
            "recover batched memory", "recover stock memory", "recover batched disk", "recover stock rocks"
        ):
            group, source, records = self._group(), sources["recover"], self.sizes.recover
            if "stock" in case:
                # Stock Faust names a changelog after the app and the table, so each run needs its own copy.
                records = self.sizes.recover_stock
                source = await self._topic(f"{group}-rows-changelog", compacted=True)
                await topics.fill(self.bootstrap, source, records, lambda _: VALUE)
            await self._measure(Task(case, self.bootstrap, group, source, records, sources["idle"], table_name="rows"))

    async def _memory(self, sources: Mapping[str, str]) -> None:
        for case in self._wanted(
            "memory region memory", "memory region disk", "memory preferences memory", "memory preferences disk"
        ):
            source = sources[case.split()[1]]
            await self._measure(Task(case, self.bootstrap, self._group(), source, self.sizes.memory))

    async def _latency(self) -> None:
        for case in self._wanted("latency batched", "latency aiokafka"):
            source, target = [await self._topic(f"{name}-{uuid.uuid4().hex[:6]}") for name in ("in", "out")]
            task = Task(case, self.bootstrap, self._group(), source, _ENDLESS, target)
            async with subprocesses.running(command(task), stderr=asyncio.subprocess.DEVNULL):
                took = await arrival_times(self.bootstrap, source, target, self.sizes.latency)
            if len(took) < self.sizes.latency:
                raise RecordsMissing(case, len(took), self.sizes.latency)
            self._note(case, percentiles_of(took).p99, "ms")

    async def _measure(self, task: Task) -> None:
        out = await subprocesses.run(command(task), timeout_s=self.sizes.timeout_s)
        result = TaskResult(**json.loads(out.splitlines()[-1]))
        if result.records < task.records:
            raise RecordsMissing(task.case, result.records, task.records)
        if result.value is not None:
            self._note(task.case, result.value, "MB")
        else:
            self._note(task.case, result.records / result.seconds, "/s")

    def _note(self, case: str, value: float, unit: str) -> None:
        self.runs[case].append(value)
        print_progress(f"  {case}: {value:,.1f} {unit}")

    def _group(self) -> str:
        return f"{self.prefix}-{uuid.uuid4().hex[:8]}"
