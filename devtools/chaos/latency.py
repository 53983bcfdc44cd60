"""Latency of a fault test: from the trigger to the provider's acceptance."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from devtools.percentiles import percentiles_of
from notify_streams.records.ids import trigger_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from notify_streams.admin.audit.provider_log import AcceptedMessage

#: `ChaosEnvironment.send_triggers` uses the ids ``c<nanoseconds, hexadecimal>-<number>``: the time at which it made them.
_PREFIX: Final = "c"


def latency_ms(accepted: Iterable[AcceptedMessage]) -> dict[str, dict[str, Any]]:
    """By lane, ``{"count", "p50", "p90", "p99", "max"}`` of the first acceptance of each delivery. A lane without any is left out.

    It includes the waits that faults caused.
    """
    first: dict[str, AcceptedMessage] = {}
    for one in accepted:
        first.setdefault(one.delivery_id, one)
    lanes: dict[str, list[float]] = {"critical": [], "standard": []}
    for one in first.values():
        sent_s = _sent_s(trigger_of(one.notification_id))
        if sent_s is not None:
            lanes["critical" if one.critical else "standard"].append(max(0.0, one.done - sent_s))
    return {lane: asdict(percentiles_of(seconds)) for lane, seconds in lanes.items() if seconds}


def _sent_s(trigger_id: str) -> float | None:
    """None for a trigger of another sender."""
    head, _, number = trigger_id.removeprefix(_PREFIX).partition("-")
    if not trigger_id.startswith(_PREFIX) or not number.isdecimal():
        return None
    try:
        return int(head, 16) / 1e9
    except ValueError:
        return None
