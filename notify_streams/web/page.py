"""Renders the dashboard: the HTML between ``<main>`` and ``</main>``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from notify_streams.delivery.breaker import BreakerState
from notify_streams.roles import CHANNEL_ROLES, LANES
from notify_streams.web.ledger import OUTCOMES
from notify_streams.web.markup import Html, join, table, tag
from notify_streams.web.wording import UNKNOWN, duration, number, quantile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from notify_streams.web.ledger import Sums
    from notify_streams.web.markup import Part
    from notify_streams.web.outbox import Backlog
    from notify_streams.web.summary import Summary

VIEWS: Final = ("live", "ready", "metrics", "lag", "ledger", "outbox", "providers", "regions", "templates")
_WITH_TOKEN: Final = ("/dead-letters", "/users/{id}", "/notifications/[{system}/]{trigger_id}")
_DECISION_GOAL_MS: Final = 2.0
_STATES: Final = ("sent", "delivered", "suppressed", "expired", "failed")


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """One worker; `summary` is None if it did not respond, `link` if its views cannot be reached by a browser."""

    name: str
    summary: Summary | None
    link: str | None


@dataclass(frozen=True, slots=True)
class PageData:
    """The content of one page. None stands for a database that did not respond."""

    workers: Sequence[WorkerRow]
    ledger: Sums | None
    outbox: Backlog | None


def dashboard(data: PageData) -> Html:
    """In order of urgency: the ledger, the workers, then counts and times."""
    summaries = [row.summary for row in data.workers if row.summary is not None]
    return join(
        (
            _verdict(data.ledger),
            _tiles(data, summaries),
            _section("Workers", _workers(data), _recovery(summaries)),
            _section("Triggers", *_triggers(data.ledger)),
            _section("Deliveries", _deliveries(summaries), _providers(summaries)),
            _section("Outbox", _outbox(data.outbox)),
            _section("Other views", _views()),
        )
    )


def _section(title: str, *children: Part) -> Html:
    name = title.lower().replace(" ", "-")
    return tag("section", tag("h2", title, id=f"h-{name}"), *children, aria_labelledby=f"h-{name}")


def _verdict(ledger: Sums | None) -> Html:
    if ledger is None:
        return _banner("bad", "The ledger is not known", "MongoDB does not respond.")
    lanes = [ledger.by_role[role] for role in LANES if role in ledger.by_role]
    triggers = {name: sum(lane[name] for lane in lanes) for name in ("taken", *OUTCOMES)}
    sentence = f"{number(triggers['taken'])} triggers taken = " + " + ".join(
        f"{number(triggers[name])} {name}" for name in OUTCOMES
    )
    if ledger.closes:
        return _banner("good", "The ledger closes", sentence)
    if not ledger.complete:
        return _banner("warn", "Too many ledger rows to sum here", "`notify-streams audit` reads them all.")
    rows = ", ".join(ledger.open_rows[:5])
    return _banner("bad", f"The ledger does not close in {len(ledger.open_rows)} rows", f"{sentence}. Open: {rows}")


def _banner(kind: str, head: str, text: str) -> Html:
    return tag("section", tag("h2", _mark(kind, head)), tag("p", text), class_=f"verdict {kind}", aria_label="Ledger")


def _mark(kind: str, text: str) -> Html:
    """A state as text with a sign, so that it does not depend on colour."""
    sign = {"good": "✓", "warn": "!", "bad": "✕", "off": "–"}[kind]
    return tag("span", tag("span", sign, class_="sign", aria_hidden="true"), text, class_=f"mark {kind}")


def _tiles(data: PageData, summaries: Sequence[Summary]) -> Html:
    lags = [one.lag for one in summaries]
    lag = None if None in lags else sum(one or 0 for one in lags)
    without = sum(not one.redis_trusted for one in summaries)
    redis = _mark("bad", f"{without} of {len(summaries)} work without it") if without else _mark("good", "in use")
    outbox = data.outbox
    waiting = _mark("bad", "MongoDB does not respond") if outbox is None else f"{number(outbox.rows)} rows"
    age = (
        None if outbox is None else f"the oldest is {duration(outbox.oldest_s)} old" if outbox.rows else "all published"
    )
    decisions: dict[str, Part] = {
        one.role: _decision(one) for one in summaries if one.role in LANES and one.decision.count
    }
    tiles = [
        ("Lag", f"{number(lag)} records", f"{len(summaries)} of {len(data.workers)} workers"),
        ("Outbox", waiting, age),
        ("Redis", redis, "for preference checks"),
        ("One decision, p99", _lanes(decisions), f"goal < {_DECISION_GOAL_MS:g} ms"),
        ("Trigger to provider, p99", _lanes(_to_provider(summaries)), "goal for critical < 2 s"),
    ]
    return tag(
        "dl",
        *(tag("div", tag("dt", name), tag("dd", value, tag("small", note))) for name, value, note in tiles),
        class_="tiles",
    )


def _to_provider(summaries: Iterable[Summary]) -> dict[str, Part]:
    worst: dict[str, tuple[float, str]] = {}
    for one in summaries:
        for lane, times in one.to_provider.items():
            if times.count:
                bound_ms = times.largest_ms * 2 if times.p99_ms is None else times.p99_ms
                worst[lane] = max(worst.get(lane, (0.0, "")), (bound_ms, quantile(times.p99_ms, times)))
    return {lane: text for lane, (_, text) in sorted(worst.items())}


def _decision(one: Summary) -> Part:
    text = quantile(one.decision.p99_ms, one.decision)
    in_goal = one.decision.p99_ms is not None and one.decision.p99_ms <= _DECISION_GOAL_MS
    return text if in_goal else _mark("warn", text)


def _lanes(texts: Mapping[str, Part]) -> Html:
    pairs = [tag("span", tag("span", f"{lane} ", class_="lane"), text, class_="pair") for lane, text in texts.items()]
    return join(pairs) if pairs else Html(UNKNOWN)


def _workers(data: PageData) -> Html:
    rows: list[list[Part]] = []
    for row in data.workers:
        one = row.summary
        name = tag("strong", row.name) if row.link is None else tag("a", row.name, href=row.link)
        if one is None:
            rows.append([name, _mark("off", "no response"), UNKNOWN, UNKNOWN, UNKNOWN])
            continue
        rows.append([name, _state(one), number(one.lag), number(one.partitions), duration(one.uptime_s)])
    return table("t-workers", "Workers of this region", ["role", "state", "lag", "partitions", "up"], rows)


def _state(one: Summary) -> Html:
    if one.health.stuck:
        return _mark("bad", "stuck: " + "; ".join(one.health.stuck))
    if one.health.waiting_for:
        return _mark("warn", "waits for " + "; ".join(one.health.waiting_for))
    return _mark("good", "ready")


def _recovery(summaries: Iterable[Summary]) -> Html | None:
    rows: list[list[Part]] = []
    known = 0
    for one in summaries:
        for progress in one.health.tables:
            known += 1
            if progress.caught_up:
                continue
            share = progress.rows / max(1, progress.rows + progress.remaining)
            name = f"{one.role}: {progress.table}"
            bar = tag("progress", f"{share:.0%}", value=f"{share:.3f}", max=1, aria_label=f"{name} {share:.0%}")
            left = f"{number(progress.remaining)} rows, about {duration(progress.estimate_s)}"
            rows.append([name, bar, number(progress.rows), left])
    if rows:
        return table("t-recovery", "Tables in recovery", ["table", "recovered", "rows read", "left"], rows)
    return tag("p", f"Tables of these workers: {known}, all recovered.") if known else None


def _triggers(ledger: Sums | None) -> list[Part]:
    if ledger is None:
        return [tag("p", "MongoDB does not respond.")]
    if not (ledger.total["taken"] or ledger.total["lost"]):
        return [tag("p", "No trigger was processed yet. ", tag("code", "notify-streams send FILE"), " sends triggers.")]
    heads = ["role", "taken", "other lane", "lost", *OUTCOMES]
    names = ("taken", "other_lane", "lost", *OUTCOMES)
    rows = [
        [role if role in LANES else f"{role} (sign-ups)", *(number(sums[name]) for name in names)]
        for role, sums in ledger.by_role.items()
        if role not in CHANNEL_ROLES
    ]
    shown: list[Part] = [table("t-triggers", "Outcomes in the whole region", heads, rows)]
    if ledger.dead_reasons:
        reasons = sorted(ledger.dead_reasons.items(), key=lambda one: -one[1])
        dead = [[reason, number(count)] for reason, count in reasons]
        shown.append(table("t-dead", "Dead letters by reason", ["reason", "count"], dead))
    return shown


def _deliveries(summaries: Iterable[Summary]) -> Html:
    states: Counter[tuple[str, str]] = Counter()
    reasons: dict[str, Counter[str]] = {}
    for one in summaries:
        for ended in one.deliveries:
            states[ended.channel, ended.state] += ended.count
            if ended.reason is not None:
                reasons.setdefault(ended.channel, Counter())[ended.reason] += ended.count
    if not states:
        return tag("p", "No delivery has ended since the start of the workers.")
    rows: list[list[Part]] = []
    for channel in sorted({channel for channel, _ in states}):
        reason_counts = ", ".join(
            f"{number(count)} {reason}" for reason, count in reasons.get(channel, Counter()).most_common()
        )
        rows.append([channel, *(number(states[channel, state]) for state in _STATES), reason_counts])
    heads = ["channel", *_STATES, "reasons"]
    return table("t-deliveries", "Ended deliveries since the start of the workers", heads, rows)


def _providers(summaries: Iterable[Summary]) -> Html | None:
    rows: list[list[Part]] = [
        [
            f"{provider} ({one.role})",
            _provider_state(one, provider),
            number(times.count),
            quantile(times.p50_ms, times),
            quantile(times.p99_ms, times),
        ]
        for one in summaries
        for provider, times in one.providers.items()
    ]
    heads = ["provider", "state", "calls", "p50", "p99"]
    return table("t-providers", "Calls to providers", heads, rows) if rows else None


def _provider_state(one: Summary, provider: str) -> Part:
    """Whether the worker calls its provider."""
    if one.provider_state is None:
        return ""
    found = next(
        (further for further in one.provider_state.further if further.provider == provider), one.provider_state
    )
    state = found.state
    if (problem := one.provider_state.credential_problems.get(provider)) is not None and state != "paused":
        return _mark("bad", f"fails because of the credential: {problem}")
    if state == BreakerState.CLOSED:
        paused = one.provider_state.paused_categories
        return _mark("warn", f"called, but not for {', '.join(paused)}") if paused else "called"
    if state == BreakerState.OPEN:
        return _mark("bad", f"not called, next probe in {duration(found.open_for_s)}")
    return _mark("bad" if state == "paused" else "warn", state)


def _outbox(outbox: Backlog | None) -> Html:
    if outbox is None:
        return tag("p", "MongoDB does not respond.")
    if not outbox.rows:
        return tag("p", "All committed rows are published.")
    rows = [
        [f"{one.role}, bucket {one.bucket}", number(one.rows), duration(one.oldest_s)] for one in outbox.buckets[:50]
    ]
    return table("t-outbox", "Committed, not published", ["where", "rows", "oldest"], rows)


def _views() -> Html:
    links = [tag("li", tag("a", f"/{name}", href=f"/{name}")) for name in VIEWS]
    named = [tag("li", tag("code", path)) for path in _WITH_TOKEN]
    note = "The last three show users' data and need the header Authorization: Bearer <web_read_token>."
    return join((tag("ul", *links, *named, class_="views"), tag("p", note, class_="note")))
