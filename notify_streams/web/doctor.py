"""Checks everything of a region that can be checked from outside."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiokafka.errors import KafkaError

from notify_streams.admin.credential_checks import check_all_credentials
from notify_streams.admin.services import service_faults
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
    from collections.abc import Sequence

    from notify_streams.settings import Settings
    from notify_streams.web.verdict.observation import ServiceState

#: A service that does not answer is asked once more, after this pause, and has so long.
_AGAIN_S: Final = 1.0
_AGAIN_WITHIN_S: Final = 5.0


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


async def examine(settings: Settings) -> list[Finding]:
    """All checks, those of one kind together. A service that is away makes the checks that need it say so; nothing raises for it.

    What is wrong is said in the sentences of the page: the rules are the same. What only shows over some time, as a rate, is that which the
    workers of the role views have found.
    """
    services = await service_faults(settings)
    if any(fault is not None and not fault.refused for fault in services.values()):
        await asyncio.sleep(_AGAIN_S)  # a busy machine, or a new primary
        services = await service_faults(settings, _AGAIN_WITHIN_S)
    states = service_states(services)
    found = [
        Finding(service, True, "answers")
        if state.fault is None
        else _finding(
            FoundProblem(ProblemCode.REFUSED if state.refused else state.code, service, sentence(state.fault))
        )
        for service, state in zip(services, states, strict=True)
    ]
    up = {service.partition(" ")[0] for service, fault in services.items() if fault is None}
    # One after another: what one of them loads would make the others late.
    found += await _texts()
    if "Kafka" in up:
        found += await _topics(settings)
    found += await _region(settings, states)
    found += await _credentials(settings)
    return found


async def _texts() -> list[Finding]:
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
            "" if one["ok"] else "replace its file; workers read it within 5 s",
        )
        for one in await check_all_credentials(settings)
    ]


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
