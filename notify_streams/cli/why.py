"""`notify-streams why`: a trigger's deliveries and the choices behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from notify_streams.cli.output import as_json, categories_of, print_result, region_option, run, settings_of
from notify_streams.records.outcomes import Reason

if TYPE_CHECKING:
    from notify_streams.admin.connections import Connections
    from notify_streams.delivery.attempt_reader import AttemptReader
    from notify_streams.settings import Settings

#: Reasons that a user's choice explains.
_BY_CHOICE = frozenset((Reason.OPTED_OUT, Reason.NOT_OPTED_IN, Reason.CHANNEL_NOT_ALLOWED))


@click.command()
@click.argument("trigger_id", metavar="[SYSTEM/]ID")
@region_option
@as_json
def why(trigger_id: str, region: str, as_json: bool) -> None:
    """Show a trigger's deliveries with each attempt, and its dead letters. Exit 1 if the region knows nothing of it: then ask the user's
    home region."""
    settings = settings_of(region)
    found, dead = run(_why(settings, trigger_id), settings)
    lines = [f"dead letter {one['place']}, {one['at']}: {one['reason']} ({one['detail']})" for one in dead]
    for one in found:
        sender = f"{one['system']} {one['source']}".strip()
        lines.append(
            f"{one['notification_id']}: {sender}, {one['category']}, {one['lane']}, decided {one['decided_at']}"
        )
        for d in one["deliveries"]:
            lines.append(
                f"  {d['channel']:<6} {d['state']}{' (' + d['reason'] + ')' if d['reason'] else ''}: {d['why']}"
            )
            lines += [f"         {_words(attempt)}" for attempt in d["history"]]
    print_result(
        as_json,
        {"holds": bool(found), "notifications": found, "dead_letters": dead},
        lines or [f"no notification and no dead letter of trigger {trigger_id} in {region}"],
    )
    raise SystemExit(0 if found or dead else 1)


def _words(attempt: dict[str, Any]) -> str:
    """One attempt: ``2: retrying, twilio, HTTP 503, 3 segments, 2026-11-28T03:00:00Z, in doubt``."""
    known = [attempt[name] for name in ("state", "reason", "provider", "code") if attempt[name]]
    if segments := attempt["segments"]:
        known.append(f"{segments} segment" + ("s" if segments > 1 else ""))
    known.append(attempt["at"])
    known += ["in doubt"] * attempt["in_doubt"]
    known += [f"template {version}"] if (version := attempt["template_version"]) else []
    known += [_device_words(one) for one in attempt["devices"] or ()]
    return f"{attempt['number']}: {', '.join(known)}"


def _device_words(device: dict[str, Any]) -> str:
    """The answer about one device: ``device 1f0c22ab (apns) accepted HTTP 200 template de:1f0c22ab41e7``."""
    answer = device["outcome"] + (f" {device['code']}" if device["code"] else "")
    version = f" template {found}" if (found := device["template_version"]) else ""
    return f"device {device['token_sha']} ({device['provider']}) {answer}{version}"


async def _why(settings: Settings, trigger_id: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    from notify_streams.admin.connections import connected
    from notify_streams.admin.dead_letters import Selection, read_dead_letters
    from notify_streams.delivery.attempt_reader import AttemptReader
    from notify_streams.stores.mongo import NOTIFICATIONS
    from notify_streams.web.notifications import notification_query

    # `system/id` or an id with a slash.
    ids = {trigger_id, trigger_id.partition("/")[2]}
    dead = [
        {"place": one.place, "at": one.at.isoformat(timespec="seconds"), **one.why}
        for one_id in ids - {""}
        async for one in read_dead_letters(settings, Selection(trigger_id=one_id))
    ]
    async with connected(settings, categories_of()) as region:
        reader = AttemptReader(region.shards, settings.outbox.transaction_timeout_s)
        found: list[dict[str, Any]] = []
        for bucket in range(settings.partitions):
            query = notification_query(trigger_id, [bucket])
            stored = await region.shards.collection(NOTIFICATIONS, bucket).find(query).to_list()
            await reader.add_status(stored)
            found += [await _explained(region, reader, one) for one in stored]
        return found, dead


async def _explained(region: Connections, reader: AttemptReader, one: dict[str, Any]) -> dict[str, Any]:
    from notify_streams.preferences.explanation import OF_ADDRESS, explain

    record = await region.preferences.repository.read(one["bucket"], one["user_id"])
    deliveries = []
    for channel, delivery in one["deliveries"].items():
        reason = delivery.get("reason")
        by_choice = reason is None or Reason(reason) in _BY_CHOICE
        words = OF_ADDRESS.get(reason, f"{delivery['attempts']} attempts")
        if by_choice:
            led = None if reason is None else Reason(reason)
            words = explain(categories_of(), one["category"], channel, led, one["preference_version"], record)
        history = await reader.history(one["bucket"], one["_id"], channel, one["decided_at"])
        deliveries.append(
            {"channel": channel, "state": delivery["state"], "reason": reason, "why": words, "history": history}
        )
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
