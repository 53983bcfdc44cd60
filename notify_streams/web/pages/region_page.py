"""The sections of the region's page, each rendered by a macro of ``region.html``.

The page shows them at its load, and gets those that have changed as events.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Final, NamedTuple

from notify_streams.delivery.breaker import BreakerState
from notify_streams.roles import LANES, ROLES
from notify_streams.web.pages import charts
from notify_streams.web.pages.rendering import macros
from notify_streams.web.verdict.series import SLOT_S
from notify_streams.web.wording import UNKNOWN, duration, number, quantile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from markupsafe import Markup

    from notify_streams.web.summary import Summary
    from notify_streams.web.verdict.region_status import RegionStatus, Totals, WorkerStatus

Kind = str
_CRITICAL_GOAL_S: Final = 2.0
#: Ledgers are read with each observation. Counts that are this much older than it are said to be old.
_OLD_COUNTS_S: Final = 10.0
_OUTCOMES: Final = {
    "notified": "notified",
    "forwarded": "forwarded to another region",
    "repartitioned": "moved to the right partition",
    "duplicate": "duplicate",
    "waiting": "waiting for the person's sign-up",
    "dead": "dead letter",
    "lost": "lost by Kafka",
}
DELIVERY_STATES: Final = ("sent", "failed", "suppressed", "expired", "open")
#: The names of the sections, in their order on the page.
SECTIONS: Final = ("verdict", "problems", "tiles", "charts", "workers", "triggers", "deliveries")


class Tile(NamedTuple):
    """One number at the top. `kind`: see the macro `mark`; None without a mark."""

    name: str
    value: str
    note: str
    kind: Kind | None = None


class ProviderRow(NamedTuple):
    """One provider at one worker."""

    provider: str
    worker: str
    kind: Kind
    state: str
    calls: str
    p50: str
    p99: str


def sections(status: RegionStatus) -> dict[str, Markup]:
    """The HTML of each section. Durations are counted to the time of the verdict."""
    parts, now = macros("region.html"), status.verdict.at
    size = {"width": charts.WIDTH, "height": charts.HEIGHT, "left": charts.LEFT, "right": charts.RIGHT}
    size["bottom"] = charts.BOTTOM
    rendered = {
        "verdict": parts.verdict(status.verdict, kind_of(status)),
        "problems": parts.problems(status.verdict, now),
        "tiles": parts.tiles(tiles(status)),
        "charts": parts.hour(charts.charts(status.series, now.timestamp() // SLOT_S * SLOT_S), size),
        "workers": parts.workers(by_role(status.workers), now),
        "triggers": parts.triggers(status.totals, outcomes(status.totals), old_since(status)),
        "deliveries": parts.deliveries(
            status.totals.deliveries, DELIVERY_STATES, providers(status.workers), old_since(status)
        ),
    }
    return {name: rendered[name] for name in SECTIONS}


def kind_of(status: RegionStatus) -> Kind:
    """good, warn or bad: the worst of what is wrong now."""
    severities = {problem.severity for problem in status.verdict.now}
    return "bad" if "bad" in severities else "warn" if severities else "good"


def old_since(status: RegionStatus) -> datetime | None:
    """When the ledgers were read last, if that is no more; None: just now, or never yet."""
    at = status.totals.at
    return at if at is not None and (status.verdict.at - at).total_seconds() > _OLD_COUNTS_S else None


def tiles(status: RegionStatus) -> list[Tile]:
    """What an operator looks at first."""
    totals, workers = status.totals, status.workers
    ready = sum(one.state == "ready" for one in workers)
    lag = sum(totals.lag.values()) if totals.lag else None
    largest = max(totals.lag, key=lambda role: totals.lag[role]) if lag else None
    rate = _latest_sum(status, "triggers")
    p99 = _latest_sum(status, "critical_p99")
    old = old_since(status)
    return [
        Tile("Workers", f"{ready} of {len(workers)}", "ready", "good" if ready == len(workers) else "bad"),
        Tile("Triggers", charts.amount(rate, "/s"), f"{number(totals.triggers.get('taken'))} in all{_when(old)}"),
        Tile("Lag", number(lag), "records" if largest is None else f"records, most of them of {largest}"),
        Tile("Outbox", number(totals.outbox_rows), _outbox_note(totals)),
        _critical_tile(p99),
        _ledger_tile(totals, old),
    ]


def _when(old: datetime | None) -> str:
    return "" if old is None else f" at {old.astimezone(UTC):%H:%M:%S} UTC"


def _outbox_note(totals: Totals) -> str:
    if totals.outbox_rows is None:
        return "not known: MongoDB does not respond"
    return (
        f"rows, the oldest {duration(totals.outbox_oldest_s)} old" if totals.outbox_rows else "rows: all is published"
    )


def _critical_tile(p99_s: float | None) -> Tile:
    kind = None if p99_s is None else "good" if p99_s <= _CRITICAL_GOAL_S else "bad"
    return Tile(
        "Critical, p99", charts.amount(p99_s, "s"), f"to the provider; the goal is {_CRITICAL_GOAL_S:g} s", kind
    )


def _ledger_tile(totals: Totals, old: datetime | None) -> Tile:
    if totals.closes is None:
        return Tile("Ledger", UNKNOWN, "not known")
    if totals.closes and old is not None:
        return Tile("Ledger", UNKNOWN, f"not known: it was closed{_when(old)}, and MongoDB does not respond since")
    if totals.closes and (lost := totals.triggers.get("lost", 0)):
        return Tile("Ledger", "closes", f"but {number(lost)} triggers were lost by Kafka", "warn")
    if totals.closes:
        return Tile("Ledger", "closes", "each trigger has one outcome", "good")
    return Tile("Ledger", "is open", "see /ledger", "bad")


def _latest_sum(status: RegionStatus, name: str) -> float | None:
    values = [one.points[-1][1] for one in status.series if one.name == name and one.points]
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def by_role(workers: Sequence[WorkerStatus]) -> list[WorkerStatus]:
    """What is not ready first, then in the order of the roles."""
    places = {role: place for place, role in enumerate(ROLES)}
    return sorted(
        workers, key=lambda one: (one.state == "ready", places.get(one.role, len(places)), one.host, one.port, one.id)
    )


def outcomes(totals: Totals) -> list[tuple[str, str, str]]:
    """(outcome, count, share of the triggers taken)."""
    taken = totals.triggers.get("taken", 0)
    counts = {shown: totals.triggers.get(name, 0) for name, shown in _OUTCOMES.items()}
    return [(shown, number(count), f"{count / taken:.1%}" if taken else UNKNOWN) for shown, count in counts.items()]


def providers(workers: Sequence[WorkerStatus]) -> list[ProviderRow]:
    """What the workers that respond tell of their providers."""
    return [
        ProviderRow(
            provider,
            one.role,
            *_provider_state(one.summary, provider),
            number(times.count),
            quantile(times.p50_ms, times),
            quantile(times.p99_ms, times),
        )
        for one in workers
        if one.summary is not None
        for provider, times in one.summary.providers.items()
    ]


def _provider_state(one: Summary, provider: str) -> tuple[Kind, str]:
    """Whether the worker calls its provider."""
    if one.provider_state is None:
        return "off", UNKNOWN
    further = (found for found in one.provider_state.further if found.provider == provider)
    found = next(further, one.provider_state)
    problem = one.provider_state.credential_problems.get(provider)
    if problem is not None and found.state != "paused":
        return "bad", f"fails because of the credential: {problem}"
    if found.state == BreakerState.CLOSED:
        if (problem := one.provider_state.platform_problems.get(provider)) is not None:
            return "warn", f"called, but has no valid key of ours for one platform: {problem}"
        paused = one.provider_state.paused_categories
        return ("warn", f"called, but not for {', '.join(paused)}") if paused else ("good", "called")
    if found.state == BreakerState.OPEN:
        return "bad", f"not called, next probe in {duration(found.open_for_s)}"
    return "bad" if found.state == "paused" else "warn", found.state


def decision_p99(one: Summary | None) -> str | None:
    """The p99 of one decision, of a worker that decides."""
    if one is None or one.role not in LANES or not one.decision.count:
        return None
    return quantile(one.decision.p99_ms, one.decision)
