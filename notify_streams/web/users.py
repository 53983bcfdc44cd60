"""`/users/{id}`: where a person is at home, how they are reached, what they chose. Needs the token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from notify_streams.preferences.row_codec import bits_of
from notify_streams.records.partitioner import bucket_of
from notify_streams.web.placement import placement_of
from notify_streams.web.responses import WebView, answer
from notify_streams.web.user_lookup import user_lookup_of

if TYPE_CHECKING:
    from aiohttp.web import Request, Response

    from notify_streams.preferences.categories import Categories
    from notify_streams.preferences.choices import PreferenceRecord
    from notify_streams.records.user_records import Contacts
    from notify_streams.registry.user import User

_NO_CONTACTS: Final = "only the router roles (critical, standard) hold contacts, each those of its own buckets"


class UserView(WebView):
    """404 for somebody who never signed up. People whom another region serves are shown without what only that region knows."""

    needs_token = True

    async def get(self, request: Request, user_id: str) -> Response:
        worker = self.worker
        settings = worker.settings
        user = await user_lookup_of(worker).find(user_id)
        if user is None:
            return answer({"error": "nobody of this id has signed up", "user_id": user_id}, 404)
        served_by = (await placement_of(worker)).server_of(user.region)
        bucket = bucket_of(user_id, settings.partitions)
        payload = who(user, bucket, worker.shards.of(bucket), served_by)
        if served_by != settings.region:
            payload["see"] = f"region {served_by} serves this person: contacts and preferences are there"
            return answer(payload)
        record = await worker.preferences.durable.read(bucket, user_id)
        payload["preferences"] = preferences(worker.categories, record)
        payload |= contacts(None if worker.recipients is None else worker.recipients.contacts(bucket, user_id))
        return answer(payload)


def who(user: User, bucket: int, shard: int, served_by: str | None) -> dict[str, Any]:
    """The registry's row; a `version` of 0 means that the registry was silent and a table told the region."""
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


def contacts(found: Contacts | None) -> dict[str, Any]:
    """How the person is reached, as far as this worker holds it."""
    if found is None:
        return {"contacts": None, "no_contacts": f"none on this worker: {_NO_CONTACTS}"}
    return {"contacts": {name: getattr(found, name) for name in ("push", "sms", "email", "updated_at")}}


def preferences(categories: Categories, record: PreferenceRecord) -> dict[str, Any]:
    """For every category and channel that there is: the default, the choice if one was made, and what follows."""
    row = record.row()
    table: dict[str, dict[str, Any]] = {}
    for name, policy in categories.items():
        chosen = record.choices.get(policy.number, {})
        table[name] = {}
        for channel, default in policy.channels.items():
            refused = policy.refusal(channel, bits_of(row, policy.number))
            cell: dict[str, Any] = {"default": default.value, "sends": refused is None, "choice": None}
            if (choice := chosen.get(channel)) is not None:
                cell |= {"choice": "in" if choice.opted_in else "out", "at": choice.at, "version": choice.version}
            table[name][channel] = cell
    return {"version": record.version, "categories": table}
