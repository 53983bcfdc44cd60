"""Lately committed notifications are remembered, and the memory has an end."""

from notify_streams.outbox import recent
from notify_streams.outbox.recent import Recent


def test_the_last_ones_are_known_and_old_ones_forgotten():
    known = Recent()
    count = 3 * recent._GENERATION
    for number in range(count):
        known.add({str(number): number})
    assert all(known.get(str(number)) == number for number in range(count - recent._GENERATION, count))
    assert known.get("0") is None
    assert len(known._young) + len(known._old) <= 2 * recent._GENERATION


def test_a_fingerprint_of_zero_is_one():
    known = Recent()
    known.add({"a": 0})
    assert known.get("a") == 0
