"""`/users/{id}`: home region, contacts and preferences of a user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from notify_streams.preferences.row_codec import choice_in
from notify_streams.records.devices import shown_devices
from notify_streams.records.partitioner import bucket_of
from notify_streams.web.pages.rendering import wants_page
from notify_streams.web.placement import current_placement
from notify_streams.web.responses import WebView, json_response
from notify_streams.web.user_lookup import user_lookup

if TYPE_CHECKING:
    from aiohttp.web import Request, Response

    from notify_streams.preferences.categories import Categories
    from notify_streams.preferences.choices import PreferenceRecord
    from notify_streams.records.user_records import Contacts
    from notify_streams.registry.user import User

#: What a form of the page has done.
_DONE: Final = {"stored": "The choice is stored and applies now."}


class UserView(WebView):
    """404 for an unknown id. Users that another region serves are shown without contacts and preferences."""

    right = "read"

    async def get(self, request: Request, user_id: str) -> Response:
        worker = self.worker
        settings = worker.settings
        user = await user_lookup(worker).find(user_id)
        if user is None:
            if wants_page(request.headers):
                return self.error_response(request, f"No person with the id {user_id} has signed up.", 404)
            return json_response({"error": "no user with this id has signed up", "user_id": user_id}, 404)
        served_by = current_placement(worker).server_of(user.region)
        bucket = bucket_of(user_id, settings.partitions)
        payload = user_payload(user, bucket, worker.shards.of(bucket), served_by)
        if served_by != settings.region:
            payload["see"] = f"region {served_by} serves this user and has the contacts and preferences"
            return self._shown(request, payload)
        record = await worker.preferences.repository.read(bucket, user_id)
        payload["preferences"] = preferences_payload(worker.categories, record)
        payload["contacts"] = contacts_payload((await worker.contacts.read({user_id: bucket})).get(user_id))
        return self._shown(request, payload)

    def _shown(self, request: Request, payload: dict[str, Any]) -> Response:
        if not wants_page(request.headers):
            return json_response(payload)
        return self.page(request, "user.html", user=payload, done=_DONE.get(request.query.get("done", "")))


def user_payload(user: User, bucket: int, shard: int, served_by: str | None) -> dict[str, Any]:
    """The registry's row, or only the region (version 0: from the locations table)."""
    home = {name: value for name, value in msgspec.structs.asdict(user).items() if name != "user_id"}
    if not user.version:
        home = {"region": user.region}
    return {
        "user_id": user.user_id,
        "bucket": bucket,
        "shard": shard,
        "home": home,
        "served_by": served_by,
    }


def contacts_payload(found: Contacts | None) -> dict[str, Any] | None:
    """The contacts; None if none were ever sent. `devices` (`shown_devices`) only of a person who has them."""
    if found is None:
        return None
    shown = {name: getattr(found, name) for name in ("push", "sms", "email", "updated_at")}
    return shown if found.devices is None else shown | {"devices": shown_devices(None, found.devices)}


def preferences_payload(categories: Categories, record: PreferenceRecord) -> dict[str, Any]:
    """For each category and channel: the default, the choice, and whether a message is sent."""
    row = record.row()
    table: dict[str, dict[str, Any]] = {}
    for name, policy in categories.items():
        chosen = record.choices.get(policy.number, {})
        table[name] = {}
        for channel, default in policy.channels.items():
            refused = policy.refusal(channel, choice_in(row, policy.number, channel))
            cell: dict[str, Any] = {"default": default.value, "sends": refused is None, "choice": None}
            if (choice := chosen.get(channel)) is not None:
                cell |= {"choice": "in" if choice.opted_in else "out", "at": choice.at, "version": choice.version}
            table[name][channel] = cell
    return {"version": record.version, "categories": table}
