"""Checks everything of a region that can be checked from outside."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiokafka.errors import KafkaError

from notify_streams.admin.credential_checks import check_all_credentials
from notify_streams.admin.services import service_faults
from notify_streams.admin.topics import check_topics
from notify_streams.errors import NotifyError
from notify_streams.preferences.categories import channels_of_templates, configured_categories
from notify_streams.stores.mongo import Shards
from notify_streams.templates.catalog import configured_templates
from notify_streams.web.peers import fetch_peers

if TYPE_CHECKING:
    from notify_streams.settings import Settings
    from notify_streams.web.peers import Peer

#: Signatures of providers allow some minutes; more than this is a clock that is not kept.
_CLOCK_S: Final = 5.0
#: A service that does not answer is asked once more, after this pause, and has so long.
_AGAIN_S: Final = 1.0
_AGAIN_WITHIN_S: Final = 5.0
_START: Final = "start it, then run this again; workers go on by themselves"


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
    """All checks, those of one kind together. A service that is away makes the checks that need it say so; nothing raises for it."""
    services = await service_faults(settings)
    if any(fault is not None and not fault.refused for fault in services.values()):
        await asyncio.sleep(_AGAIN_S)  # a busy machine, or a new primary
        services = await service_faults(settings, _AGAIN_WITHIN_S)
    found = [
        Finding(service, True, "answers")
        if fault is None
        else Finding(service, False, fault.sentence, "" if fault.refused else _START)
        for service, fault in services.items()
    ]
    up = {service.partition(" ")[0] for service, fault in services.items() if fault is None}
    # One after another: what one of them loads would make the others late.
    found += await _texts()
    if "Kafka" in up:
        found += await _topics(settings)
    if "MongoDB" in up:
        found += await _clocks(settings)
    found += await _workers(settings)
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


async def _clocks(settings: Settings) -> list[Finding]:
    """The clocks of the shards beside this machine's."""
    found = []
    async with Shards(settings) as shards:
        for shard in range(len(shards)):
            about = f"clock of shard {shard}"
            try:
                async with asyncio.timeout(2.0):
                    began = time.time()
                    hello = await shards.client(shard).admin.command("hello")
            except Exception as error:  # whatever a driver raises, the clock is not known
                found.append(Finding(about, False, f"is not known: {type(error).__name__}"))
                continue
            apart_s = hello["localTime"].timestamp() - (began + time.time()) / 2
            is_near = abs(apart_s) <= _CLOCK_S
            todo = "" if is_near else "mend the time synchronisation of both machines"
            found.append(Finding(about, is_near, f"differs from this machine's by {abs(apart_s):.1f} s", todo))
    return found


async def _workers(settings: Settings) -> list[Finding]:
    return [finding for peer in await fetch_peers(settings) for finding in findings_of(peer)]


def findings_of(peer: Peer) -> list[Finding]:
    """What a worker says about itself; one finding for each reason why it is not ready."""
    about = f"worker {peer.name} at {peer.host}:{peer.port}"
    summary = peer.summary
    if summary is None:
        return [Finding(about, False, "does not answer", "look at its process or pod, and at its last log lines")]
    reasons = summary.health.waiting_for
    if not reasons:
        return [Finding(about, True, f"is ready, {summary.lag or 0} records behind")]
    return [Finding(about, False, one, "docs/runbooks.md") for one in reasons]
