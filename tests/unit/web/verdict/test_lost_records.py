"""What Kafka deleted unread is found by its growth, also after a time in which the ledgers could not be read."""

from __future__ import annotations

from typing import Any

from notify_streams.web.verdict.lost_records import LostRecords


def rows(**lost: int) -> list[dict[str, Any]]:
    """Two rows of each role, one of which has lost records."""
    return [{"role": role, "lost": count} for role, found in lost.items() for count in (found, 0)]


def test_only_what_grows_within_the_window_is_found() -> None:
    losses = LostRecords(window_s=30.0)
    assert losses.add(0.0, rows(standard=7, push=0)) == {}
    assert losses.add(5.0, rows(standard=10, push=2)) == {"standard": 3, "push": 2}
    assert losses.add(30.0, rows(standard=10, push=2)) == {"standard": 3, "push": 2}
    assert losses.add(36.0, rows(standard=10, push=2)) == {}


def test_what_was_lost_while_the_ledgers_could_not_be_read_is_found_afterwards() -> None:
    losses = LostRecords(window_s=30.0)
    assert losses.add(0.0, None) == {}
    losses.add(5.0, rows(standard=0))
    assert losses.add(100.0, None) == {}
    assert losses.add(200.0, rows(standard=4)) == {"standard": 4}


def test_a_role_that_is_new_has_lost_what_its_rows_say() -> None:
    losses = LostRecords()
    losses.add(0.0, rows(standard=1))
    assert losses.add(5.0, rows(standard=1, sms=2)) == {"sms": 2}


def test_a_count_that_falls_is_no_loss() -> None:
    losses = LostRecords()
    losses.add(0.0, rows(standard=9))
    assert losses.add(5.0, rows(standard=1)) == {}
