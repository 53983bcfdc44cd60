"""What views show, for tests of their pages without services."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

AT = datetime(2026, 11, 28, 3, 4, 5, tzinfo=UTC)


def a_user(**but: Any) -> dict[str, Any]:
    """As `users.UserView` shows."""
    user: dict[str, Any] = {"user_id": "ann", "bucket": 7, "shard": 1, "served_by": "us"}
    user["home"] = {"region": "us", "version": 3, "updated_at": AT}
    device = {"token_sha": "0badcafe", "token_end": "9f3c", "provider": "apns", "app": "bank", "locale": "de"}
    user["contacts"] = {"push": None, "sms": "+4915112345678", "email": "ann@example.org", "updated_at": AT}
    user["contacts"]["devices"] = [device | {"last_seen": AT.isoformat()}]
    choice = {"choice": "out", "at": AT, "version": 3}
    user["preferences"] = {
        "version": 3,
        "categories": {
            "marketing": {"push": {"default": "in", "sends": False, **choice}},
            "security": {"sms": {"default": "always", "sends": True, "choice": None}},
        },
    }
    return user | but


def dead_letters(**but: Any) -> dict[str, Any]:
    """As `dead_letters.DeadLetters` shows."""
    newest = {"place": "dead_letters-3@41", "at": AT, "key": "ann", "bytes": 1_812, "reason": "not_json"}
    newest |= {"detail": "byte 0: malformed", "topic": "triggers.payments", "partition": 3, "offset": 88}
    newest |= {"headers": [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]}
    found = {"region": "us", "dead": 1_204, "reasons": {"expired": 4, "not_json": 1_200}, "complete": True}
    return found | {"newest": [newest]} | but
