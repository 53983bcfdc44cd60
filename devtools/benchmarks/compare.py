"""`notify-streams bench compare`: CPU per record beside an older checkout.

Both run alternately with the same interpreter, so that the state of the machine affects both alike.
"""

from __future__ import annotations

import ast
import json
import resource
import uuid
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from devtools import subprocesses
from devtools.benchmarks.rates import RecordsMissing
from devtools.benchmarks.results import Figure, Goal, beside, report
from devtools.benchmarks.transport import topics
from devtools.benchmarks.transport.cases.task import Task
from devtools.benchmarks.transport.runner import VALUE
from devtools.subprocesses import python_module
from notify_streams.cli.output import print_progress

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

#: Microseconds of CPU a record, by step or case.
Costs = dict[str, float]

THIS_CHECKOUT: Final = Path(__file__).parents[2]
GOAL: Final = Goal("at most", 1.03, of_ratio=True)
TRANSPORT_CASES: Final = ("read batched", "copy batched")


async def compare_steps(old: Path, rounds: int, records: int) -> dict[str, Any]:
    async def steps(checkout: Path) -> Costs:
        arguments = "bench", "steps", "--triggers", str(records), "--rounds", "1", "--json"
        out = await subprocesses.run(python_module("notify_streams.cli", *arguments), cwd=checkout)
        found: Costs = json.loads(out)["steps"]
        return found | {"all steps": sum(found.values())}

    return await _alternate(steps, old, rounds)


async def compare_transport(old: Path, rounds: int, records: int, bootstrap: str) -> dict[str, Any]:
    prefix = f"compare-{uuid.uuid4().hex[:8]}"
    created: list[str] = []

    async def topic() -> str:
        created.append(f"{prefix}-{len(created)}")
        return await topics.create(bootstrap, created[-1])

    async def cost(checkout: Path, case: str) -> float:
        """The CPU between a short and a long run: the start of the process cancels out."""
        short, long = [
            await cpu_s(
                checkout, Task(case, bootstrap, f"{prefix}-{uuid.uuid4().hex[:8]}", source, count, await topic())
            )
            for count in (records // 4, records)
        ]
        return 1e6 * (long - short) / (records - records // 4)

    async def cases(checkout: Path) -> Costs:
        return {case: await cost(checkout, case) for case in TRANSPORT_CASES}

    try:
        source = await topic()
        await topics.fill(bootstrap, source, records, lambda _: VALUE)
        return await _alternate(cases, old, rounds)
    finally:
        await topics.delete(bootstrap, created)


async def _alternate(measure: Callable[[Path], Awaitable[Costs]], old: Path, rounds: int) -> dict[str, Any]:
    """Measure both checkouts in each round, in changing order."""
    runs: dict[Path, list[Costs]] = {THIS_CHECKOUT: [], old: []}
    for number in range(rounds):
        for checkout in (THIS_CHECKOUT, old) if number % 2 == 0 else (old, THIS_CHECKOUT):
            runs[checkout].append(await measure(checkout))
        print_progress(f"round {number + 1} of {rounds}")
    return report(compared(runs[THIS_CHECKOUT], runs[old]), rounds={str(path): found for path, found in runs.items()})


def compared(new: Sequence[Mapping[str, float]], old: Sequence[Mapping[str, float]]) -> list[Figure]:
    """What both checkouts measure, over the rounds."""
    return [
        beside(name, [run[name] for run in new], "us", GOAL, "old", [run[name] for run in old])
        for name in new[0]
        if name in old[0]
    ]


async def cpu_s(checkout: Path, task: Task) -> float:
    """CPU seconds of a transport case, run with a checkout's code in a process of its own.

    Raises:
        RecordsMissing: it processed fewer records than `task` has.
    """
    package, names = transport_cases(checkout)
    before = _children_cpu_s()
    arguments = dict(zip(names, astuple(task), strict=True))
    out = await subprocesses.run(python_module(package, json.dumps(arguments)), cwd=checkout)
    if (found := json.loads(out.splitlines()[-1])["records"]) < task.records:
        raise RecordsMissing(f"{task.case} of {checkout}", found, task.records)
    return _children_cpu_s() - before


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def transport_cases(checkout: Path) -> tuple[str, list[str]]:
    """The package with a checkout's transport cases, and the field names of its `Task`: older versions named both differently."""
    (file,) = checkout.glob("*/*/*transport/*/task.py")
    fields = next(
        [line.target.id for line in node.body if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)]
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == "Task"
    )
    return ".".join(file.parent.relative_to(checkout).parts), fields
