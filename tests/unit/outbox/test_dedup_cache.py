"""Lately committed notifications are remembered, and the memory has an end."""

from notify_streams.outbox import dedup_cache
from notify_streams.outbox.dedup_cache import DedupCache


def test_the_last_ones_are_known_and_old_ones_forgotten() -> None:
    known = DedupCache()
    count = 3 * dedup_cache._GENERATION
    for number in range(count):
        known.add({str(number): number})
    assert all(known.get(str(number)) == number for number in range(count - dedup_cache._GENERATION, count))
    assert known.get("0") is None
    assert len(known._young) + len(known._old) <= 2 * dedup_cache._GENERATION


def test_a_fingerprint_of_zero_is_one() -> None:
    known = DedupCache()
    known.add({"a": 0})
    assert known.get("a") == 0
