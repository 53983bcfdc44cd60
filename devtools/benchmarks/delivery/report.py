"""Targets and report of `bench delivery`."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any, Final

from devtools.benchmarks import results
from devtools.benchmarks.delivery.references import AIOHTTP, GO
from devtools.benchmarks.results import Goal, Target, figure, figures_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NEW, OLD = "this checkout", "old checkout"
#: This checkout's worker, alternating between blocks, with triggers that have a template and with triggers that have their text.
WITH_TEMPLATES: Final = "alternating, with templates"
WITHOUT_TEMPLATES: Final = "alternating, without templates"

WORKER_CPU: Final = "CPU of the push worker"
MONGODB_CPU: Final = "CPU of MongoDB"
KAFKA_CPU: Final = "CPU of Kafka"
SINK_CPU: Final = "CPU of the sink"
ALONE: Final = "one push worker"
FLOW: Final = "trigger to final state"
_RENDERING_CPU: Final = "CPU of a push"
CONNECTIONS: Final = "connections opened by the push worker"
SENDER_RATE: Final = "the same requests"
SENDER_CPU: Final = "CPU"
_PER_S: Final = "deliveries/s"
#: Unit of every case, by the part of its name behind the subject.
_UNITS: Final = {
    ALONE: _PER_S,
    FLOW: _PER_S,
    _RENDERING_CPU: "us",
    WORKER_CPU: "us a delivery",
    MONGODB_CPU: "us a delivery",
    KAFKA_CPU: "us a delivery",
    SINK_CPU: "us a delivery",
    CONNECTIONS: "connections",
    SENDER_RATE: "requests/s",
    SENDER_CPU: "us a request",
}


def case(subject: str, what: str) -> str:
    """The name of a measured value, such as `old checkout: CPU of MongoDB`."""
    return f"{subject}: {what}"


#: In the benchmark's own process.
RENDERING: Final = case("rendering", _RENDERING_CPU)


def _at_least(times: float) -> Goal:
    return Goal("at least", times, of_ratio=True)


def _at_most(times: float) -> Goal:
    return Goal("at most", times, of_ratio=True)


TARGETS: Final = (
    Target(WORKER_CPU, "us a delivery", case(NEW, WORKER_CPU), case(OLD, WORKER_CPU), _at_most(1 / 6)),
    Target(
        f"{WORKER_CPU}, with templates",
        "us a delivery",
        case(WITH_TEMPLATES, WORKER_CPU),
        case(WITHOUT_TEMPLATES, WORKER_CPU),
        _at_most(1.15),
    ),
    Target(RENDERING, "us", RENDERING, None, Goal("at most", 20)),
    Target(MONGODB_CPU, "us a delivery", case(NEW, MONGODB_CPU), case(OLD, MONGODB_CPU), _at_most(1 / 8)),
    Target(ALONE, _PER_S, case(NEW, ALONE), case(AIOHTTP, SENDER_RATE), _at_least(1.5)),
    Target(ALONE, _PER_S, case(NEW, ALONE), case(GO, SENDER_RATE), _at_least(0.4)),
    Target(ALONE, _PER_S, case(NEW, ALONE), case(OLD, ALONE), _at_least(6)),
    Target(f"{FLOW}, everything on this machine", _PER_S, case(NEW, FLOW), case(OLD, FLOW), _at_least(6)),
)


def report(runs: Mapping[str, Sequence[float]], not_measured: Sequence[str], **more: Any) -> dict[str, Any]:
    """The medians, then the targets.

    Args:
        runs: case → one value a round, or one a block.
        not_measured: a line for each reference that is left out.
    """
    medians = [figure(name, median(values), _UNITS[name.partition(": ")[2]]) for name, values in runs.items() if values]
    return results.report(
        [*medians, *figures_of(TARGETS, runs)], rounds=dict(runs), not_measured=list(not_measured), **more
    )
