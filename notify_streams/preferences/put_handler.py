"""Handles ``PUT /users/{id}/preferences/…`` without a web framework."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from notify_streams.errors import RetryLater
from notify_streams.field_errors import DECODE_ERRORS, problem_of
from notify_streams.preferences.categories import Default
from notify_streams.records.choice_sources import ChoiceSource

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from notify_streams.preferences.categories import Categories
    from notify_streams.preferences.writer import PreferenceWriter

RETRY_AFTER_S: Final = 1
_MAX_USER_ID: Final = 128


class ChoiceBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a PUT."""

    opted_in: bool


_decode_update = msgspec.json.Decoder(ChoiceBody).decode


@dataclass(frozen=True, slots=True)
class PutResponse:
    """A status and a JSON body."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


async def put_preference(
    writer: PreferenceWriter,
    categories: Categories,
    *,
    user_id: str,
    bucket: int,
    category: str,
    channel: str,
    body: bytes,
    now: datetime,
) -> PutResponse:
    """Store ``{"opted_in": true|false}``. 200: every later check sees the choice. 503: it may or may not be stored, try again."""
    if not 0 < len(user_id) <= _MAX_USER_ID:
        return PutResponse(400, {"error": f"a user id has 1 to {_MAX_USER_ID} characters"})
    policy = categories.get(category)
    if policy is None:
        return PutResponse(404, {"error": f"there is no category {category!r}", "categories": sorted(categories)})
    allowed = next((name for name in policy.channels if name == channel), None)
    if allowed is None:
        return PutResponse(
            404, {"error": f"{category!r} has no channel {channel!r}", "channels": list(policy.channels)}
        )
    try:
        update = _decode_update(body)
    except DECODE_ERRORS as error:
        sentence = problem_of(error, ChoiceBody).sentence("it")
        return PutResponse(
            400, {"error": f'the body must be {{"opted_in": true}} or {{"opted_in": false}}: {sentence}'}
        )
    if policy.channels[allowed] is Default.ALWAYS and not update.opted_in:
        return PutResponse(409, {"error": f"{category!r} on {channel!r} cannot be turned off"})
    try:
        stored = await writer.put(user_id, bucket, category, allowed, update.opted_in, now, ChoiceSource.API)
    except RetryLater:
        return PutResponse(503, {"error": "try again"}, {"Retry-After": str(RETRY_AFTER_S)})
    return PutResponse(
        200,
        {
            "user_id": user_id,
            "category": category,
            "channel": channel,
            "opted_in": update.opted_in,
            "version": stored.version,
            "updated_at": stored.updated_at.isoformat(),
        },
    )
