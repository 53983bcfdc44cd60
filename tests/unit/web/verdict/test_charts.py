"""Rates of workers that come and go, charts over gaps, totals from ledgers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from notify_streams.delivery.delivery_ledger import COUNTS
from notify_streams.web.verdict.counters import CounterWindow
from notify_streams.web.verdict.series import SLOT_S, SLOTS, Slot, is_valid, series, slot_of
from notify_streams.web.verdict.totals import NO_TOTALS, ledger_totals, slot_at, with_backlog
from tests.unit.web.verdict.observations import a_backlog, a_summary, some_rates
from tests.unit.web.view_builders import a_row

AT = 1_700_000_000.0


def ended(count: int, state: str = "sent", reason: str | None = None) -> dict[str, Any]:
    return {"channel": "push", "state": state, "reason": reason, "count": count}


def ends(outcome: str, end: str, count: int) -> dict[str, Any]:
    return {"provider": "fcm", "outcome": outcome, "end": end, "count": count}


def window(*reported: tuple[float, dict[str, dict[str, Any]]]) -> CounterWindow:
    """Each: time, worker → fields of its summary."""
    found = CounterWindow(window_s=30.0)
    for at, workers in reported:
        found.add(at, {worker: a_summary(**fields) for worker, fields in workers.items()})
    return found


def test_rates_are_what_counters_grew_by_within_the_window() -> None:
    rates = window(
        (0.0, {"a": {"deliveries": [ended(100)]}}),
        (20.0, {"a": {"deliveries": [ended(150), ended(5, "failed", "rejected")]}}),
        (35.0, {"a": {"deliveries": [ended(170), ended(7, "failed", "rejected"), ended(9, "failed", "dead_token")]}}),
        (55.0, {"a": {"deliveries": [ended(171), ended(8, "failed", "rejected"), ended(9, "failed", "dead_token")]}}),
    ).rates()
    # From the observation at 20 s on.
    assert rates.ended == {"push": 21 + 3 + 9} and rates.failed == {"push": 3}


def test_a_worker_that_has_just_started_counts_from_nothing_and_one_that_is_new_to_us_does_not() -> None:
    young, old = {"uptime_s": 5.0, "triggers": {"notified": 7}}, {"uptime_s": 900.0, "triggers": {"notified": 50}}
    assert window((100.0, {"young": young, "old": old})).rates().triggers == 7


def test_one_that_ended_is_forgotten_after_the_window() -> None:
    found = window((0.0, {"a": {"triggers": {"notified": 1}}}), (5.0, {"a": {"triggers": {"notified": 9}}}))
    assert found.rates().triggers == 8
    found.add(34.0, {})
    assert found.rates().triggers == 8
    found.add(36.0, {})
    assert found.rates().triggers == 0


def test_calls_that_were_not_made_do_not_hide_why_the_provider_is_not_called() -> None:
    """A breaker that is open keeps back many times more calls than its probes are."""
    before = {"provider_ends": [ends("retry", "not called", 900)]}
    after = {"provider_ends": [ends("retry", "not called", 1_000), ends("retry", "HTTP 429", 12)]}
    found = window((0.0, {"a": before}), (20.0, {"a": after})).rates().providers["fcm"]
    assert (found.answered, found.failed) == (0, {"HTTP 429": 12})


def test_ends_of_calls_are_the_provider_s_unless_they_are_about_a_message_or_our_credential() -> None:
    before = {"provider_ends": [ends("accepted", "HTTP 200", 10)]}
    after = {
        "provider_ends": [
            ends("accepted", "HTTP 200", 12),
            ends("dead_token", "HTTP 404", 2),
            ends("retry", "HTTP 503", 6),
            ends("retry", "HTTP 401", 4),
            ends("retry", "TimeoutError", 1),
        ]
    }
    found = window((0.0, {"a": before}), (5.0, {"a": after})).rates().providers["fcm"]
    assert found.answered == 4 and found.failed == {"HTTP 503": 6, "TimeoutError": 1}


def buckets(*counts: int) -> dict[str, Any]:
    return {"to_provider_counts": {"critical": dict(zip(("0.5", "1.0", "2.0", "5.0", "+Inf"), counts, strict=True))}}


@pytest.mark.parametrize(
    ("counts", "p50_s", "p99_s"),
    [
        ((100, 100, 100, 100, 100), 0.25, 0.495),
        ((0, 0, 90, 100, 100), pytest.approx(1.5556, abs=0.001), pytest.approx(4.7)),
        ((0, 0, 0, 0, 100), 5.0, 5.0),
        ((10, 10, 10, 10, 19), None, None),
    ],
)
def test_quantiles_are_those_of_prometheus(counts: tuple[int, ...], p50_s: float | None, p99_s: float | None) -> None:
    zeros = buckets(0, 0, 0, 0, 0)
    rates = window((0.0, {"a": zeros, "b": {}}), (5.0, {"a": buckets(*counts), "b": {}})).rates()
    assert (rates.critical_p50_s, rates.critical_p99_s) == (p50_s, p99_s)


def test_a_chart_is_a_rate_over_gaps_and_never_negative() -> None:
    first = slot_of(AT)
    counted = {first: 100, first + 1: 150, first + 4: 210, first + 5: 0, first + 6: 10}
    slots = {number: Slot(number * SLOT_S, {"triggers:standard": count}) for number, count in counted.items()}
    (line,) = series(slots, (first + 6) * SLOT_S)
    assert (line.name, line.unit, line.labels) == ("triggers", "/s", {"lane": "standard"})
    assert [value for _, value in line.points] == [None, 5.0, None, None, 2.0, 0.0, 1.0]
    assert [at for at, _ in line.points] == [(first + place) * SLOT_S for place in range(7)]


def test_charts_show_an_hour_and_lines_that_have_a_value() -> None:
    now = AT + 2 * SLOTS * SLOT_S
    slots = {number: Slot(number * SLOT_S, {"outbox": 3}) for number in range(slot_of(AT), slot_of(now) + 1)}
    (line,) = series(slots, now)
    assert len(line.points) == SLOTS and line.points[-1] == (slot_of(now) * SLOT_S, 3)
    assert series({}, now) == []


def test_slots_from_the_wire_are_of_this_hour_and_have_known_lines() -> None:
    number = slot_of(AT)
    assert is_valid(number, Slot(AT, {"outbox": 1}), AT)
    assert not is_valid(number, Slot(AT, {"<script>": 1}), AT)
    assert not is_valid(number - SLOTS, Slot(AT, {}), AT) and not is_valid(number + 2, Slot(AT, {}), AT)


def a_delivery_row(role: str = "push", **but: int) -> dict[str, Any]:
    counted = dict.fromkeys(COUNTS, 0) | but
    counted["fresh"] = sum(counted[name] for name in ("sent", "failed", "suppressed", "expired", "retrying"))
    counted["taken"] = counted["fresh"]
    place = {"first_offset": 0, "next_offset": counted["taken"], "partition": 0}
    return {"_id": f"{role}:{role}:0", "role": role, "topic": role} | place | counted


def test_totals_are_those_of_the_ledgers() -> None:
    rows = [
        a_row(dead_reasons={"invalid": 1}),
        a_delivery_row(sent=5, retrying=3, resolved_sent=1, resolved_expired=1),
        a_delivery_row("cric_push", sent=2, failed=1),
    ]
    totals = ledger_totals(rows, complete=True, at=datetime.fromtimestamp(AT, UTC))
    assert totals.closes and totals.triggers["notified"] == 4 and totals.dead_reasons == {"invalid": 1}
    assert totals.deliveries == {"push": {"sent": 8, "failed": 1, "suppressed": 0, "expired": 1, "open": 1}}
    slot = slot_at(AT, rows, with_backlog(totals, a_backlog(3, 1.0), {"push": 9}), some_rates(critical_p99_s=0.25))
    assert slot.values == {
        "triggers:critical": 0,
        "triggers:standard": 8,
        "deliveries:push:sent": 8,
        "deliveries:push:failed": 1,
        "failures:failed": 1,
        "failures:expired": 1,
        "failures:dead_letter": 1,
        "outbox": 3,
        "lag:push": 9,
        "critical_p99": 0.25,
    }


def test_without_a_ledger_a_slot_has_no_counts() -> None:
    assert slot_at(AT, None, with_backlog(NO_TOTALS, None, {}), some_rates()).values == {}
