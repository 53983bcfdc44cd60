"""Rules about workers: gone, stuck, not ready, calls that fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from notify_streams.roles import CHANNEL_ROLES
from notify_streams.web.verdict.problem import FoundProblem, ProblemCode
from notify_streams.web.wording import duration

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from notify_streams.web.summary import StalledPart
    from notify_streams.web.verdict.observation import Observation
    from notify_streams.web.verdict.region_status import WorkerStatus

#: Records that are not processed for so long are stuck; a slow flush takes less.
STALLED_S: Final = 15.0
#: So many partitions of one worker that stand still are no single bad record.
_MANY: Final = 3
_FAILING_S: Final = 15.0
_MAX_NAMED: Final = 3
#: Calls that another rule speaks of.
_KNOWN_CALLS: Final = ("registry", "forward")
_SERVICES: Final = frozenset(
    (
        ProblemCode.KAFKA_DOWN,
        ProblemCode.SHARD_DOWN,
        ProblemCode.REDIS_DOWN,
        ProblemCode.DYNAMODB_DOWN,
        ProblemCode.REFUSED,
    )
)
_PROVIDERS: Final = frozenset(
    (
        ProblemCode.PROVIDER_FAILING,
        ProblemCode.PROVIDER_HANGING,
        ProblemCode.PROVIDER_PAUSED,
        ProblemCode.CREDENTIAL,
    )
)


def name_of(worker: WorkerStatus) -> str:
    """As problems name it."""
    return f"worker {worker.role} at {worker.host}:{worker.port}"


def worker_problems(seen: Observation) -> Iterator[FoundProblem]:
    """Workers that are gone, roles without one, and what makes no progress although Kafka is there."""
    no_kafka = any(one.code is ProblemCode.KAFKA_DOWN and one.fault is not None for one in seen.services)
    for worker in seen.workers:
        if worker.state == "gone":
            reason = worker.reasons[0] if worker.reasons else "it gives no sign of life"
            alone = not any(one.role == worker.role and one.state != "gone" for one in seen.workers)
            text = f"{name_of(worker).capitalize()} is gone: {reason}." + alone * " No other worker of its role runs."
            yield FoundProblem(ProblemCode.WORKER_GONE, name_of(worker), text)
        elif worker.summary is None or not no_kafka:
            yield from _stuck(worker)
    there = {worker.role for worker in seen.workers}
    for role in seen.roles:
        if role not in there:
            text = f"No worker of the role {role} is running."
            yield FoundProblem(ProblemCode.ROLE_MISSING, f"role {role}", text)


def _stuck(worker: WorkerStatus) -> Iterator[FoundProblem]:
    summary = worker.summary
    if summary is None:
        if worker.state == "stuck":
            text = f"{name_of(worker).capitalize()} is stuck: {'; '.join(worker.reasons)}."
            yield FoundProblem(ProblemCode.AGENT_STUCK, name_of(worker), text)
        return
    waits = worker.role in CHANNEL_ROLES and _not_called(worker)
    stalled = [] if waits else [one for one in summary.stalled if one.for_s >= STALLED_S]
    places = sorted({one.what for one in stalled})
    if len(places) >= min(_MANY, max(2, summary.partitions or 0)):
        yield FoundProblem(ProblemCode.AGENT_STUCK, name_of(worker), _agent_text(worker, stalled, places))
        return
    for place in places:
        one = max((part for part in stalled if part.what == place), key=lambda part: part.for_s)
        what = place if place.startswith("table ") else f"partition {place}"
        text = f"{what[:1].upper()}{what[1:]} is stuck at {name_of(worker)}: {one.reason}, for {duration(one.for_s)}."
        yield FoundProblem(ProblemCode.PARTITION_STUCK, place, text)


def _not_called(worker: WorkerStatus) -> bool:
    """Whether messages wait for a provider: then positions stand still."""
    state = None if worker.summary is None else worker.summary.provider_state
    return state is not None and any(one.state != "closed" for one in (state, *state.further))


def _agent_text(worker: WorkerStatus, stalled: Sequence[StalledPart], places: Sequence[str]) -> str:
    longest_s = max(one.for_s for one in stalled)
    named = ", ".join(places[:_MAX_NAMED])
    more = "" if len(places) <= _MAX_NAMED else f" and {len(places) - _MAX_NAMED} more"
    return f"{name_of(worker).capitalize()} is stuck: {named}{more} have made no progress for {duration(longest_s)}."


def failing_calls(workers: Iterable[WorkerStatus], causes: Collection[ProblemCode]) -> Iterator[FoundProblem]:
    """Calls that fail at every attempt, unless a service that is down explains them."""
    if _SERVICES & set(causes):
        return
    found: dict[str, list[tuple[float, str]]] = {}
    for worker in workers:
        for call, seconds in ({} if worker.summary is None else worker.summary.failing).items():
            if seconds >= _FAILING_S and not call.startswith(_KNOWN_CALLS):
                found.setdefault(call, []).append((seconds, name_of(worker)))
    for call, failing in sorted(found.items()):
        longest_s, name = max(failing)
        where = name if len(failing) == 1 else f"{len(failing)} workers"
        text = f"The call {call} of {where} has failed at every attempt for {duration(longest_s)}."
        yield FoundProblem(ProblemCode.CALL_FAILING, f"call {call}", text)


def not_ready_problems(workers: Sequence[WorkerStatus], causes: Iterable[FoundProblem]) -> list[FoundProblem]:
    """Failing calls, and workers that are not ready for a reason that no cause explains."""
    codes = {one.code for one in causes}
    found = list(failing_calls(workers, codes))
    for worker in workers:
        reasons = [] if worker.state != "waiting" else unexplained(worker.reasons, codes)
        if reasons:
            text = f"{name_of(worker).capitalize()} is not ready: {'; '.join(reasons[:_MAX_NAMED])}."
            found.append(FoundProblem(ProblemCode.WORKER_NOT_READY, name_of(worker), text))
    return found


def unexplained(reasons: Iterable[str], causes: Collection[ProblemCode]) -> list[str]:
    """The reasons of a worker's `/ready` that none of `causes` explains."""
    codes = set(causes)
    service, provider = bool(codes & _SERVICES), bool(codes & _PROVIDERS)
    return [
        reason
        for reason in reasons
        if not (
            (service and (" does not answer" in reason or " fails for " in reason or " refuses" in reason))
            or (provider and (reason.startswith("provider ") or "because of the credential" in reason))
            or (ProblemCode.DYNAMODB_DOWN in codes and reason.startswith("registry"))
            or (ProblemCode.LINK_CUT in codes and reason.startswith(("forward fails", "placement")))
            or (ProblemCode.CALL_FAILING in codes and " fails for " in reason)
        )
    ]
