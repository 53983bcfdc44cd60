"""Generated triggers of three systems, some with each kind of defect."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from devtools.demo.sample_users import SampleUser
    from notify_streams.admin.trigger_producer import Upload

_TEMPLATES: Final = {
    "payments": ("payment_received", "payment_failed"),
    "marketing": ("offer",),
    "security": ("new_device", "password_changed"),
}
_SYSTEMS: Final = ("payments", "payments", "marketing", "marketing", "security")
_CRITICAL: Final = 0.02
#: Share of each kind of defect.
_DEFECTS: Final = (
    ("repeat", 0.02),
    ("other_content", 0.003),
    ("unknown_user", 0.01),
    ("unknown_category", 0.004),
    ("not_json", 0.004),
    ("invalid", 0.006),
    ("no_value", 0.001),
    ("wrong_partition", 0.005),
    ("too_large", 0.0002),
)


def triggers(count: int, users: Sequence[SampleUser], seed: int, too_large_bytes: int) -> Iterator[Upload]:
    """`count` records. The same seed gives the same defects. Ids are UUIDv7, which sort by time."""
    draw = random.Random(f"triggers-{seed}")
    sent: list[tuple[str, dict[str, Any]]] = []
    for number in range(count):
        system = draw.choice(_SYSTEMS)
        topic = f"triggers.{system}"
        trigger = _trigger(draw, system, draw.choice(users), number)
        kind = _defect(draw)
        if kind in ("repeat", "other_content") and sent:
            topic, trigger = draw.choice(sent[-500:])
            if kind == "other_content":
                trigger = trigger | {"data": {"amount": "0.01", "offer": "changed", "device": "changed"}}
        elif kind is None:
            sent.append((topic, trigger))
        yield _upload(kind, topic, trigger, too_large_bytes)


def _upload(kind: str | None, topic: str, trigger: dict[str, Any], too_large_bytes: int) -> Upload:
    user_id: str | None = trigger["user_id"]
    headers = (("critical", b"1"),) if trigger["isCritical"] else ()
    value: bytes | None = orjson.dumps(trigger)
    match kind:
        case "unknown_user":
            user_id = f"unknown-{trigger['id']}"
            value = orjson.dumps(trigger | {"user_id": user_id})
        case "unknown_category":
            value = orjson.dumps(trigger | {"category": "unknown"})
        case "not_json":
            value = b"amount=12.50&user=" + trigger["user_id"].encode()
        case "invalid":
            value = orjson.dumps({name: value for name, value in trigger.items() if name != "template"})
        case "no_value":
            value = None
        case "wrong_partition":
            user_id = None
        case "too_large":
            value = orjson.dumps(trigger | {"data": {"padding": "x" * too_large_bytes}})
    return topic, user_id, value, headers


def _defect(draw: random.Random) -> str | None:
    point = draw.random()
    for kind, share in _DEFECTS:
        if point < share:
            return kind
        point -= share
    return None


def _trigger(draw: random.Random, system: str, user: SampleUser, number: int) -> dict[str, Any]:
    return {
        "id": str(_uuid7(draw, number)),
        "user_id": user.user_id,
        "category": system,
        "isCritical": system != "marketing" and draw.random() < _CRITICAL * 5 / 3,
        "template": draw.choice(_TEMPLATES[system]),
        "data": {
            "amount": f"{draw.uniform(1, 500):.2f}",
            "offer": f"{draw.randint(5, 50)} % off",
            "device": "a new phone",
        },
        "created_at": datetime.now(UTC).isoformat(),
    }


def _uuid7(draw: random.Random, number: int) -> UUID:
    """RFC 9562: milliseconds since the epoch, then random bits."""
    milliseconds = int(datetime.now(UTC).timestamp() * 1000)
    value = milliseconds << 80 | 0x7 << 76 | (number & 0xFFF) << 64 | 0b10 << 62 | draw.getrandbits(62)
    return UUID(int=value)
