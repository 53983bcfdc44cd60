"""From a drill's trigger to the provider that accepted it: what the providers' record says, in; milliseconds a lane, out."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from devtools.percentiles import percentiles_of
from notify_streams.records.ids import trigger_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from notify_streams.admin.audit.provider_log import AcceptedMessage

#: `Ground.send` names its triggers ``c<nanoseconds, hexadecimal>-<number>``, by the moment when it made them.
_MARK: Final = "c"


def latency_ms(accepted: Iterable[AcceptedMessage]) -> dict[str, dict[str, Any]]:
    """By lane, ``{"count", "p50", "p90", "p99", "max"}`` of each delivery's first acceptance; a lane without any is left out.

    Faults are in it: what waited for a shard to return waited.
    """
    first: dict[str, AcceptedMessage] = {}
    for one in accepted:
        first.setdefault(one.delivery_id, one)
    lanes: dict[str, list[float]] = {"critical": [], "standard": []}
    for one in first.values():
        made_s = _made_s(trigger_of(one.notification_id))
        if made_s is not None:
            lanes["critical" if one.critical else "standard"].append(max(0.0, one.done - made_s))
    return {lane: asdict(percentiles_of(found)) for lane, found in lanes.items() if found}


def _made_s(trigger_id: str) -> float | None:
    """None for a trigger that is none of a drill's."""
    head, _, number = trigger_id.removeprefix(_MARK).partition("-")
    if not trigger_id.startswith(_MARK) or not number.isdecimal():
        return None
    try:
        return int(head, 16) / 1e9
    except ValueError:
        return None
