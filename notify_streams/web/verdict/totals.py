"""Totals of the region from its ledgers, and the slot of the charts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from notify_streams.delivery.delivery_ledger import RESOLVED, open_deliveries
from notify_streams.roles import CHANNEL_ROLES, LANES, channel_of
from notify_streams.web.ledger import sums
from notify_streams.web.verdict.region_status import Totals
from notify_streams.web.verdict.series import Slot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from notify_streams.web.outbox import Backlog
    from notify_streams.web.verdict.observation import Rates

NO_TOTALS: Final = Totals(None, None, {}, {}, {}, None, None, {})
#: State of a delivery → the counts of a ledger that add up to it.
_STATES: Final = {name.removeprefix("resolved_"): (name.removeprefix("resolved_"), name) for name in RESOLVED.values()}


def ledger_totals(rows: Sequence[Mapping[str, Any]], *, complete: bool, at: datetime) -> Totals:
    """The totals of all ledger rows, without outbox and lag."""
    summed = sums(rows, complete=complete)
    deliveries: dict[str, dict[str, int]] = {}
    for row in rows:
        if row.get("role") not in CHANNEL_ROLES:
            continue
        channel = deliveries.setdefault(channel_of(row["role"]), dict.fromkeys((*_STATES, "open"), 0))
        for state, names in _STATES.items():
            channel[state] += sum(row.get(name, 0) for name in names)
        channel["open"] += open_deliveries({"retrying": 0, "replayed": 0, **dict.fromkeys(RESOLVED.values(), 0), **row})
    return Totals(at, summed.closes, summed.total, deliveries, summed.dead_reasons, None, None, {})


def with_backlog(totals: Totals, outbox: Backlog | None, lag: Mapping[str, int]) -> Totals:
    """The same with the present outbox and lag."""
    rows, oldest_s = (None, None) if outbox is None else (outbox.rows, outbox.oldest_s)
    return msgspec.structs.replace(totals, outbox_rows=rows, outbox_oldest_s=oldest_s, lag=dict(lag))


def slot_at(
    now: float,
    rows: Sequence[Mapping[str, Any]] | None,
    totals: Totals,
    rates: Rates,
) -> Slot:
    """What the charts show of this moment. `rows`: the ledger; None: it could not be read."""
    values: dict[str, float] = {f"lag:{role}": lag for role, lag in totals.lag.items()}
    if totals.outbox_rows is not None:
        values["outbox"] = totals.outbox_rows
    for name, seconds in (("critical_p50", rates.critical_p50_s), ("critical_p99", rates.critical_p99_s)):
        if seconds is not None:
            values[name] = round(seconds, 4)
    if rows is not None:
        taken = dict.fromkeys(LANES, 0)
        for row in rows:
            if row.get("role") in taken:
                taken[row["role"]] += row.get("taken", 0)
        values |= {f"triggers:{lane}": count for lane, count in taken.items()}
        for channel, states in totals.deliveries.items():
            values |= {f"deliveries:{channel}:{state}": states[state] for state in ("sent", "failed")}
        for kind in ("failed", "expired"):
            values[f"failures:{kind}"] = sum(states[kind] for states in totals.deliveries.values())
        values["failures:dead_letter"] = sum(totals.dead_reasons.values())
    return Slot(now, {name: int(value) if float(value).is_integer() else value for name, value in values.items()})
