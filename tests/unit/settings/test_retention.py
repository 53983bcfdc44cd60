"""Retention and times to live: their relations are checked when settings are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from notify_streams.records.periods import end_of_period
from notify_streams.settings_retention import RetentionSettings
from notify_streams.topics import all_topics
from tests.builders import some_settings

DAYS_90, WEEK = 2160.0, 168.0


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, None),
        ({"topics_h": 1 / 60, "notifications_h": 1 / 60, "period_s": 5}, None),
        ({"topics_h": DAYS_90, "notifications_h": DAYS_90}, None),
        ({"topics_h": DAYS_90 + 1}, "notifications_h must be at least topics_h"),
        ({"notifications_h": WEEK - 1}, "notifications_h must be at least topics_h"),
        ({"topics_h": 2.0}, None),
        ({"topics_h": 1.9}, "period_s must be at most half of topics_h"),
        ({"period_s": 302_401}, "period_s must be at most half of topics_h"),
    ],
    ids=str,
)
def test_nothing_expires_before_what_it_proves_or_before_it_is_sealed(
    given: dict[str, float], problem: str | None
) -> None:
    problems = list(RetentionSettings(**given).problems())  # type: ignore[arg-type]
    assert len(problems) == (problem is not None)
    assert problem is None or problems[0].startswith(problem)


@pytest.mark.parametrize(
    ("topics_h", "retention_ms", "segment_ms"),
    [(WEEK, 604_800_000, 86_400_000), (336.0, 1_209_600_000, 86_400_000), (1 / 60, 60_000, 8_571)],
    ids=["a week", "two weeks", "a minute"],
)
def test_topics_have_the_retention_of_the_settings_and_a_seventh_of_it_as_segment(
    topics_h: float, retention_ms: int, segment_ms: int
) -> None:
    specs = all_topics(some_settings(retention={"topics_h": topics_h}))
    limited = [one.config for one in specs if one.config.get("retention.ms", "-1") != "-1"]
    assert {(one["retention.ms"], one["segment.ms"]) for one in limited} == {(str(retention_ms), str(segment_ms))}


def test_attempts_are_kept_longer_than_any_notification_of_the_same_decision() -> None:
    """The notification expires by the end of its period, and MongoDB deletes it within minutes."""
    retention = RetentionSettings()
    now = datetime(2026, 11, 28, 10, 0, 0, 1, UTC)
    expires_at = end_of_period(now, retention.period_s) + retention.notifications
    assert now + retention.attempts >= expires_at + timedelta(minutes=30)


@pytest.mark.parametrize(
    ("at", "end"),
    [("10:00:00", "11:00:00"), ("10:59:59.999", "11:00:00"), ("23:30:00", "00:00:00")],
)
def test_a_period_has_its_beginning_and_not_its_end(at: str, end: str) -> None:
    found = end_of_period(datetime.fromisoformat(f"2026-11-28T{at}+00:00"), 3600)
    assert found.isoformat()[11:19] == end
