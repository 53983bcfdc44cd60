"""The demo sends more slowly while critical notifications are late."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from devtools.demo.delivery_report import SentTrigger
from devtools.demo.pace import SendingPace
from notify_streams.records.ids import notification_id
from tests.builders import an_acceptance


def accepted(trigger_id: str, done: float, *, critical: bool = True) -> bytes:
    line = an_acceptance(notification_id(trigger_id, "u", "payments"), done=done)
    return msgspec.json.encode(msgspec.structs.replace(line, critical=critical)) + b"\n"


@pytest.mark.parametrize(
    ("lines", "rate"),
    [
        ([accepted("a", 100.9)], 1000.0),
        ([accepted("a", 101.5), accepted("a", 102.0)], 700.0),
        ([accepted("a", 105.0, critical=False), accepted("of another run", 200.0)], 1000.0),
    ],
    ids=["on time", "late", "not critical"],
)
async def test_the_rate_follows_the_latest_critical_notification(
    tmp_path: Path, lines: list[bytes], rate: float
) -> None:
    log = tmp_path / "accepted.jsonl"
    log.write_bytes(b"".join(lines))
    pace = SendingPace(1000.0, [log], {"a": SentTrigger(100.0, "us", "us")})
    await pace.wait(1)
    assert pace.rate == rate


async def test_each_line_counts_once_and_the_rate_has_a_lower_limit(tmp_path: Path) -> None:
    log = tmp_path / "accepted.jsonl"
    log.write_bytes(accepted("a", 105.0))
    pace = SendingPace(60.0, [log], {"a": SentTrigger(100.0, "us", "us")})
    await pace.wait(0)
    assert pace.rate == 50.0 and not pace.lower(9.0)
    quick = SendingPace(1000.0, [], {})
    assert quick.lower(1.5) and not quick.lower(0.9) and quick.rate == 700.0
