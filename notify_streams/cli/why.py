"""`notify-streams why`: a trigger's deliveries and the choices behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from notify_streams.cli.output import as_json, categories_of, print_result, region_option, run, settings_of
from notify_streams.records.outcomes import Reason

if TYPE_CHECKING:
    from notify_streams.admin.connections import Connections
    from notify_streams.settings import Settings

#: Reasons that a user's choice explains.
_BY_CHOICE = frozenset((Reason.OPTED_OUT, Reason.NOT_OPTED_IN, Reason.CHANNEL_NOT_ALLOWED))


@click.command()
@click.argument("trigger_id", metavar="[SYSTEM/]ID")
@region_option
@as_json
def why(trigger_id: str, region: str, as_json: bool) -> None:
    """Show a trigger's deliveries and why each has its state. Exit 1 if the region has no notification of it: then look in `/dead-letters`, or
    in the user's home region."""
    settings = settings_of(region)
    found = run(_why(settings, trigger_id), settings)
    lines = []
    for one in found:
        sender = f"{one['system']} {one['source']}".strip()
        lines.append(
            f"{one['notification_id']}: {sender}, {one['category']}, {one['lane']}, decided {one['decided_at']}"
        )
        lines += [
            f"  {d['channel']:<6} {d['state']}{' (' + d['reason'] + ')' if d['reason'] else ''}: {d['why']}"
            for d in one["deliveries"]
        ]
    print_result(
        as_json,
        {"holds": bool(found), "notifications": found},
        lines or [f"no notification of trigger {trigger_id} in {region}"],
    )
    raise SystemExit(0 if found else 1)


async def _why(settings: Settings, trigger_id: str) -> list[dict[str, Any]]:
    from notify_streams.admin.connections import connected
    from notify_streams.stores.mongo import NOTIFICATIONS
    from notify_streams.web.notifications import notification_query

    async with connected(settings, categories_of()) as region:
        found: list[dict[str, Any]] = []
        for bucket in range(settings.partitions):
            query = notification_query(trigger_id, [bucket])
            stored = await region.shards.collection(NOTIFICATIONS, bucket).find(query).to_list()
            found += [await _explained(region, one) for one in stored]
        return found


async def _explained(region: Connections, one: dict[str, Any]) -> dict[str, Any]:
    from notify_streams.preferences.explanation import explain

    record = await region.preferences.repository.read(one["bucket"], one["user_id"])
    deliveries = []
    for channel, delivery in one["deliveries"].items():
        reason = delivery.get("reason")
        by_choice = reason is None or Reason(reason) in _BY_CHOICE
        words = f"{delivery['attempts']} attempts"
        if by_choice:
            led = None if reason is None else Reason(reason)
            words = explain(categories_of(), one["category"], channel, led, one["preference_version"], record)
        deliveries.append({"channel": channel, "state": delivery["state"], "reason": reason, "why": words})
    return {
        "notification_id": one["_id"],
        "system": one["system"],
        "source": one.get("source", ""),
        "category": one["category"],
        "lane": one["lane"],
        "decided_at": one["decided_at"].isoformat(),
        "preference_version": one["preference_version"],
        "deliveries": deliveries,
    }
