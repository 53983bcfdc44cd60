"""The rules: which problems an observation shows.

Plain functions, each for one kind of cause; `problems_of` applies all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from notify_streams.web.verdict.problem import FoundProblem, ProblemCode
from notify_streams.web.verdict.provider_rules import credential_problems, platform_problems, provider_problems
from notify_streams.web.verdict.remedies import EFFECTS, ORDER
from notify_streams.web.verdict.trend_rules import trend_problems
from notify_streams.web.verdict.worker_rules import not_ready_problems, worker_problems
from notify_streams.web.wording import duration, number

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from notify_streams.web.verdict.observation import Observation, ServiceState

#: Signatures of providers allow some minutes; more than this is a clock that is not kept.
CLOCK_S: Final = 5.0
#: A registry call that fails for so long is no single error.
_REGISTRY_S: Final = 8.0
_LINK_S: Final = 8.0
_MAX_NAMED: Final = 3


def problems_of(seen: Observation) -> list[FoundProblem]:
    """All problems, causes before their effects, the worst first; each code and `about` once."""
    causes = [
        *service_problems(seen.services),
        *registry_problems(seen),
        *refusals_of_workers(seen),
        *credential_problems(seen.workers),
        *platform_problems(seen.workers),
        *provider_problems(seen),
        *worker_problems(seen),
        *link_problems(seen),
        *clock_problems(seen.clocks),
        *ledger_problems(seen),
        *trend_problems(seen),
    ]
    found = {(one.code, one.about): one for one in reversed(causes)}
    for one in (*not_known(seen, {one.code for one in causes}), *not_ready_problems(seen.workers, found.values())):
        found[one.code, one.about] = one
    return in_order(found.values())


def in_order(found: Iterable[FoundProblem]) -> list[FoundProblem]:
    """Sorted as `problems_of` returns them."""
    return sorted(found, key=lambda one: (ORDER[one.code], one.about))


def service_problems(services: Sequence[ServiceState]) -> Iterator[FoundProblem]:
    """Services that do not answer, or refuse us."""
    for one in services:
        if one.fault is not None:
            yield FoundProblem(ProblemCode.REFUSED if one.refused else one.code, one.about, sentence(one.fault))


def registry_problems(seen: Observation) -> Iterator[FoundProblem]:
    """Workers whose calls to DynamoDB fail, where DynamoDB itself is not asked."""
    for worker in seen.workers:
        failing = {} if worker.summary is None else worker.summary.failing
        for call, seconds in failing.items():
            if call.startswith("registry") and seconds >= _REGISTRY_S:
                text = f"DynamoDB has failed every {call} of the role {worker.role} for {duration(seconds)}."
                yield FoundProblem(ProblemCode.DYNAMODB_DOWN, "DynamoDB", text)


def refusals_of_workers(seen: Observation) -> Iterator[FoundProblem]:
    """What services refuse workers, in the workers' words."""
    for worker in seen.workers:
        for refusal in () if worker.summary is None else worker.summary.refused:
            yield FoundProblem(ProblemCode.REFUSED, refusal.partition(" refuses")[0][:80], sentence(refusal))


def link_problems(seen: Observation) -> Iterator[FoundProblem]:
    """Regions that this one cannot reach."""
    for worker in seen.workers:
        if worker.summary is None:
            continue
        for link in worker.summary.links:
            if link.failing_s >= _LINK_S:
                text = f"Region {link.region} has not accepted triggers for {duration(link.failing_s)}: they wait here."
                yield FoundProblem(ProblemCode.LINK_CUT, f"link to {link.region}", text)
        for region in worker.summary.unreachable:
            text = f"The control log of region {region} cannot be read: its Kafka does not answer."
            yield FoundProblem(ProblemCode.LINK_CUT, f"link to {region}", text)


def clock_problems(clocks: Mapping[str, float]) -> Iterator[FoundProblem]:
    """Clocks that differ from the others'; `clocks`: seconds ahead of this machine's.

    If most differ alike, this machine's own is wrong.
    """
    ahead = sorted(clocks.values())
    usual_s = ahead[len(ahead) // 2] if len(ahead) > 1 else 0.0
    if abs(usual_s) <= CLOCK_S:
        usual_s = 0.0
    else:
        text = f"The clock of the machine that tells this is {apart(-usual_s)} the others'."
        yield FoundProblem(ProblemCode.CLOCK, "clock of this machine", text)
    for about, seconds in clocks.items():
        if abs(seconds - usual_s) > CLOCK_S:
            text = f"The clock of {about} is {apart(seconds - usual_s)} the others'."
            yield FoundProblem(ProblemCode.CLOCK, f"clock of {about}", text)


def apart(seconds: float) -> str:
    return f"{duration(abs(seconds))} {'ahead of' if seconds > 0 else 'behind'}"


def ledger_problems(seen: Observation) -> Iterator[FoundProblem]:
    """Records that retention deleted unread; rows whose counts do not add up: something was lost or counted twice."""
    for role, lost in sorted(seen.lost.items()):
        text = f"Kafka deleted {number(lost)} records before the role {role} had read them: they are lost."
        yield FoundProblem(ProblemCode.RECORDS_LOST, f"role {role}", text)
    if seen.ledger is not None and seen.ledger.open_rows:
        rows = ", ".join(seen.ledger.open_rows[:_MAX_NAMED])
        text = f"The ledger does not close in {len(seen.ledger.open_rows)} rows ({rows})."
        yield FoundProblem(ProblemCode.LEDGER_OPEN, "ledger", text)


def not_known(seen: Observation, causes: Collection[ProblemCode]) -> Iterator[FoundProblem]:
    """What could not be read although no shard is away: it is not known whether something was lost or is late."""
    if not {ProblemCode.SHARD_DOWN, ProblemCode.REFUSED}.isdisjoint(causes):
        return
    unread = [
        name
        for name, is_read in (
            ("the whole ledger", seen.ledger is not None and seen.ledger.complete),
            ("the outbox", seen.outbox is not None),
            ("the retries that are due", seen.overdue_s is not None),
        )
        if not is_read
    ]
    if unread:
        text = f"MongoDB answers, but {' and '.join(unread)} could not be read, so losses and delays do not show."
        yield FoundProblem(ProblemCode.NOT_KNOWN, "databases", text)


def sentence(text: str) -> str:
    """With a capital letter and a full stop."""
    text = text.strip().rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


def headline(found: Sequence[FoundProblem]) -> str:
    """The worst problem, and how many more there are."""
    if not found:
        return "Everything works."
    more = len(found) - 1
    others = "" if not more else f" And {more} more {'problem' if more == 1 else 'problems'}."
    return found[0].text + others


def is_effect(code: ProblemCode) -> bool:
    """Whether a problem of this kind may only follow from another one."""
    return code in EFFECTS
