"""`notify-streams bench transport`: figures of the batched transport."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final

from devtools.benchmarks.results import figures_of, report
from devtools.benchmarks.transport.runner import Runner, Sizes
from devtools.benchmarks.transport.targets import TARGETS

DEFAULT: Final = Sizes()
PACKAGES: Final = ("faust-streaming", "aiokafka", "confluent-kafka", "lmdb", "rocksdict")
_LEAST: Final = {"latency": 100}


async def measure(bootstrap: str, sizes: Sizes, only: tuple[str, ...] = ()) -> dict[str, Any]:
    """Run the benchmark on a broker.

    Raises:
        RecordsMissing: a case lost records.
    """
    runs = await Runner(bootstrap, sizes, only).run()
    return report(figures_of(TARGETS, runs), packages=PACKAGES)


def scaled(scale: float, rounds: int) -> Sizes:
    """The default sizes times `scale`."""
    counts = {one.name for one in fields(Sizes)} - {"rounds", "timeout_s"}
    return Sizes(
        **{name: max(int(getattr(DEFAULT, name) * scale), _LEAST.get(name, 1000)) for name in counts}, rounds=rounds
    )
