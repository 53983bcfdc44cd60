"""Checks everything of a region that can be checked from outside."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiokafka.errors import KafkaError

from notify_streams.admin.credential_checks import check_all_credentials
from notify_streams.admin.services import service_checks
from notify_streams.admin.topics import check_topics
from notify_streams.errors import NotifyError
from notify_streams.preferences.categories import channels_of_templates, configured_categories
from notify_streams.templates.catalog import configured_templates
from notify_streams.web.verdict.one_look import look_at, service_states
from notify_streams.web.verdict.problem import FoundProblem, ProblemCode
from notify_streams.web.verdict.remedies import REMEDIES
from notify_streams.web.verdict.rules import problems_of, sentence
from notify_streams.web.verdict.worker_rules import name_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from notify_streams.admin.services import Fault
    from notify_streams.settings import Settings
    from notify_streams.web.verdict.observation import ServiceState

    Ask = Callable[[float], Awaitable[Fault | None]]

#: Of a service's answer. One that gives none is asked once more after a pause: the machine is busy, or a new primary is elected.
_ANSWER_S: Final = 2.0
_PAUSE_S: Final = 0.5
_AGAIN_WITHIN_S: Final = 2.5
#: Of each provider's answer.
_PROVIDER_S: Final = 3.0
#: Of a provider that gives no answer, as its check says it.
_AWAY: Final = " does not respond"
#: Of all checks of other machines together.
_ALL_S: Final = 9.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One check."""

    #: What was checked.
    about: str
    ok: bool
    #: What was found, in a sentence.
    text: str
    #: What to do; empty if nothing.
    todo: str = ""


async def examine(settings: Settings, report: Callable[[Finding], None]) -> list[Finding]:
    """All checks; `report` gets each finding as soon as it is known. It takes 10 s at most.

    First all services together, then what they store, workers and providers together: what is loaded for one of these would make the
    answer of a service late. A service that is away makes the checks that need it say so; nothing raises for it. What is wrong is said in
    the sentences of the page: the rules are the same. What only shows over some time, as a rate, is that which the workers of the role
    views have found.
    """
    found: list[Finding] = []

    def add(findings: Iterable[Finding]) -> None:
        for one in findings:
            found.append(one)
            report(one)

    async def asked(service: str, ask: Ask) -> Fault | None:
        fault = await _fault(ask)
        add([_of_service(service, fault)])
        return fault

    deadline = asyncio.get_running_loop().time() + _ALL_S
    asks = service_checks(settings)
    faults = dict(zip(asks, await asyncio.gather(*(asked(*one) for one in asks.items())), strict=True))

    async def until_deadline(about: str, check: Awaitable[Iterable[Finding]]) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                findings = await check
        except TimeoutError:
            findings = [Finding(about, False, f"not known after {_ALL_S:g} s", "run `notify-streams doctor` again")]
        add(findings)

    checks = {
        "workers, clocks and databases": _region(settings, service_states(faults)),
        "credentials": _credentials(settings),
    }
    if all(fault is None for service, fault in faults.items() if service.startswith("Kafka ")):
        checks["topics"] = _topics(settings)
    await asyncio.gather(*(until_deadline(about, check) for about, check in checks.items()))
    add(_texts())
    return found


async def _fault(ask: Ask) -> Fault | None:
    fault = await ask(_ANSWER_S)
    if fault is None or fault.refused:
        return fault
    await asyncio.sleep(_PAUSE_S)
    return await ask(_AGAIN_WITHIN_S)


def _of_service(name: str, fault: Fault | None) -> Finding:
    if fault is None:
        return Finding(name, True, "answers")
    (state,) = service_states({name: fault})
    code = ProblemCode.REFUSED if fault.refused else state.code
    return _finding(FoundProblem(code, name, sentence(fault.sentence)))


def _texts() -> list[Finding]:
    about = "categories and templates"
    try:
        configured_templates(channels_of_templates(configured_categories()))
    except NotifyError as error:
        return [Finding(about, False, str(error), "`notify-streams templates check` shows all of them")]
    return [Finding(about, True, "are valid")]


async def _topics(settings: Settings) -> list[Finding]:
    about = "topics"
    try:
        found = await check_topics(settings)
    except (KafkaError, NotifyError) as error:
        return [Finding(about, False, f"cannot be read: {error}")]
    wrong = (*found.blocking, *found.tolerable)
    if not wrong:
        return [Finding(about, True, "are as the settings say")]
    return [Finding(about, False, one, "`notify-streams topics ensure`") for one in wrong]


async def _credentials(settings: Settings) -> list[Finding]:
    return [
        Finding(
            f"credential {one['credential']} of {one['provider']} ({one['channel']})",
            one["ok"],
            one["text"],
            "" if one["ok"] else _todo_of_credential(one["text"]),
        )
        for one in await check_all_credentials(settings, _PROVIDER_S)
    ]


def _todo_of_credential(text: str) -> str:
    """A provider that is away refuses no credential: another one would change nothing."""
    if _AWAY in text:
        return _todo(
            "If the address is right, look at the provider's status page; deliveries wait for it.",
            "notifyproviderstopped",
        )
    return _todo("What it says; workers read a new file within 5 s.", "notifycredentialrefused")


async def _region(settings: Settings, services: Sequence[ServiceState]) -> list[Finding]:
    """Workers, clocks and databases, by the rules of the verdict."""
    look = await look_at(settings, services)
    problems = problems_of(look.seen)
    known = {(one.code, one.about) for one in problems}
    found = [_finding(one) for one in problems if (one.code, one.about) not in _of_services(services)]
    found += [
        Finding(one.about, False, one.text, _todo(one.todo, one.runbook))
        for one in look.reported
        if (one.code, one.about) not in known | _of_services(services)
    ]
    if not look.workers_known:
        found.append(Finding("workers", False, "are not known, because Redis does not answer", "bring Redis back"))
    found += [
        Finding(f"clock of {about}", False, f"is not known, because {about} does not answer", f"bring {about} back")
        for about in look.unknown_clocks
    ]
    wrong = {one.about for one in problems}
    found += [
        Finding(f"clock of {about}", True, f"differs from this machine's by {abs(seconds):.1f} s")
        for about, seconds in look.seen.clocks.items()
        if f"clock of {about}" not in wrong
    ]
    found += [
        Finding(name_of(one), True, f"is ready, {0 if one.summary is None else one.summary.lag or 0} records behind")
        for one in look.seen.workers
        if one.state == "ready" and name_of(one) not in wrong
    ]
    return found


def _of_services(services: Sequence[ServiceState]) -> set[tuple[ProblemCode, str]]:
    """The problems that the lines of the services have reported."""
    return {(code, one.about) for one in services for code in (one.code, ProblemCode.REFUSED)}


def _finding(problem: FoundProblem) -> Finding:
    remedy = REMEDIES[problem.code]
    return Finding(problem.about, False, problem.text, _todo(remedy.todo, remedy.runbook))


def _todo(todo: str, runbook: str) -> str:
    return f"{todo} See docs/runbooks.md#{runbook}"
