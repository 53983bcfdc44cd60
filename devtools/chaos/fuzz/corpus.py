"""What mutations begin with: valid records, and known faults."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams.topics import (
    FORWARDED,
    PREFERENCE_UPDATES,
    RECEIPTS,
    REGION_CONTROL,
    USER_CONTACTS,
    USER_SIGNUPS,
    trigger_topics,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from notify_streams.settings import Settings

#: `NOW` and `NOW+10min` stand for times.
_CASES: Final = Path(__file__).with_name("cases.jsonl")

#: The users of the corpus. They meet in one another's records; the good records behind a batch are about other users.
USERS: Final = tuple(f"fuzz-{number}" for number in range(64))


@dataclass(frozen=True, slots=True)
class Seed:
    """A record without its place."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[bytes, bytes | None], ...] = ()


class _Case(msgspec.Struct, frozen=True):
    #: Tells apart the faults that the records belong to.
    case: str
    topic: str
    #: The JSON text; None: a tombstone.
    value: str | None
    key: str | None = None


def known_cases(now: datetime) -> list[Seed]:
    """The records of `cases.jsonl`. Their users are those of their own text."""
    return [seed for seeds in cases(now).values() for seed in seeds]


def cases(now: datetime) -> dict[str, list[Seed]]:
    """The records of `cases.jsonl` by fault (``"01"``), in the order in which they were sent."""
    ahead, at = _text(now + timedelta(minutes=10)), _text(now)
    found: dict[str, list[Seed]] = {}
    for line in _CASES.read_bytes().splitlines():
        case = msgspec.json.decode(line, type=_Case)
        value = None if case.value is None else case.value.replace("NOW+10min", ahead).replace("NOW", at).encode()
        key = None if case.key is None else case.key.encode()
        found.setdefault(case.case, []).append(Seed(case.topic, value, key))
    return found


def valid_seeds(settings: Settings, now: datetime) -> list[Seed]:
    """One to three valid records of each topic, about `USERS[0]`."""
    user, at = USERS[0], _text(now)
    seeds = [_seed(topic, _trigger(topic, user, at)) for topic in trigger_topics(settings)]
    hops = ((b"hops", b"1"), (b"origin", b"eu"), (b"system", b"payments"), (b"location_version", b"1"))
    seeds += [
        Seed(FORWARDED, msgspec.json.encode(_trigger(FORWARDED, user, at)), user.encode(), hops),
        _seed("triggers.payments", _event("triggers.payments", user, at)),
        _seed(
            USER_CONTACTS, {"user_id": user, "updated_at": at, "push": "t", "sms": "+15550000001", "email": "a@b.org"}
        ),
        Seed(USER_CONTACTS, None, user.encode()),
        _seed(USER_SIGNUPS, {"user_id": user, "region": "us", "updated_at": at, "version": 1, "locale": "en"}),
        _seed(PREFERENCE_UPDATES, _choice(user, at, "payments", "push")),
        _seed(PREFERENCE_UPDATES, _choice(user, at, "*", "*")),
        _seed(RECEIPTS, {"delivery_id": "t-1-0123456789abcdef.push", "state": "delivered", "at": at}),
        # A claim alone changes nothing. A `serve` record would be an operator's command.
        _seed(REGION_CONTROL, {"home": "us", "epoch": 1, "step": "claim", "server": "us", "token": "t", "at": at}),
        _seed(REGION_CONTROL, {"home": "eu", "epoch": 1, "step": "released", "server": "us", "token": "t", "at": at}),
    ]
    return seeds


def _trigger(topic: str, user: str, at: str) -> dict[str, object]:
    system = topic.removeprefix("triggers.")
    category, template = {"marketing": ("marketing", "offer"), "security": ("security", "new_device")}.get(
        system, ("payments", "payment_received")
    )
    data = {"amount": "1", "offer": "x", "device": "d"}
    usual = {"id": "t-1", "user_id": user, "category": category, "template": template, "data": data}
    return usual | {
        "created_at": at,
        "expires_at": at,
        "isCritical": False,
        "channels": ["push"],
        "title": "T",
        "body": "B",
    }


def _event(topic: str, user: str, at: str) -> dict[str, object]:
    return {"specversion": "1.0", "id": "7", "source": "/fuzz", "type": "t", "data": _trigger(topic, user, at)}


def _choice(user: str, at: str, category: str, channel: str) -> dict[str, object]:
    return {"user_id": user, "category": category, "channel": channel, "opted_in": False, "updated_at": at}


def _seed(topic: str, fields: Mapping[str, object]) -> Seed:
    user = fields.get("user_id") or fields.get("home")
    return Seed(topic, msgspec.json.encode(fields), user.encode() if isinstance(user, str) else None)


def topics_of(seeds: Sequence[Seed]) -> list[str]:
    """The topics of the seeds, each once."""
    return sorted({seed.topic for seed in seeds})


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
