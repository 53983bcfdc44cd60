"""The demo sends faster while critical notifications are on time, and more slowly when they are late."""

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
        ([accepted("a", 100.4)], 500.0),
        ([accepted("a", 100.9)], 250.0),
        ([accepted("a", 101.5), accepted("a", 102.0)], 175.0),
        ([accepted("a", 105.0, critical=False), accepted("of another run", 200.0)], 250.0),
    ],
    ids=["early", "on time", "late", "not critical"],
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
    assert pace.rate == pace.limit == 50.0 and not pace.adapt(9.0)
    slow = SendingPace(10.0, [], {})
    assert not slow.adapt(9.0) and slow.rate == 10.0


async def test_an_invalid_line_does_not_end_the_pace_and_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = tmp_path / "accepted.jsonl"
    log.write_bytes(b"{}\n" + accepted("a", 105.0) + b"{}\n")
    pace = SendingPace(60.0, [log], {"a": SentTrigger(100.0, "us", "us")})
    await pace.wait(0)
    assert pace.rate == 50.0 and len(caplog.records) == 2


def test_a_higher_rate_is_tried_after_the_machine_was_busy() -> None:
    pace = SendingPace(1000.0, [], {})
    for worst_s in (0.1, 0.1, 0.1, 9.0, 9.0):
        pace.adapt(worst_s)
    assert pace.rate == pytest.approx(490.0)
    rates = [pace.rate for _ in range(40) if pace.adapt(0.1)]
    assert rates == pytest.approx([612.5, 765.625, 957.03125, 1000.0])
    assert (pace.rate, pace.limit) == (1000.0, 1000.0)


def test_a_rate_that_is_just_carried_is_not_raised() -> None:
    pace = SendingPace(1000.0, [], {})
    for worst_s in (0.1, 0.1, 0.1, 9.0):
        pace.adapt(worst_s)
    assert not any(pace.adapt(worst_s) for worst_s in (0.1, 0.1, 0.1, 0.1, 0.1, 0.9) * 5)


def test_the_rate_rises_to_the_one_asked_for_and_not_above_one_that_was_too_much() -> None:
    pace = SendingPace(1000.0, [], {})
    rates = [(pace.adapt(worst_s), pace.rate, pace.limit) for worst_s in (None, 0.1, 0.2, 0.2, 1.5, 0.9, 0.1)]
    assert rates == [
        (False, 250.0, 1000.0),
        (True, 500.0, 1000.0),
        (True, 1000.0, 1000.0),
        (False, 1000.0, 1000.0),
        (True, 700.0, 700.0),
        (False, 700.0, 700.0),
        (False, 700.0, 700.0),
    ]
