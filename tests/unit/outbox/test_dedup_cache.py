"""The cache has the last notifications, and its size is bounded."""

from notify_streams.outbox.dedup_cache import GENERATION, DedupCache


def test_the_last_notifications_are_cached_and_old_ones_dropped() -> None:
    cache = DedupCache()
    count = 3 * GENERATION
    for number in range(count):
        cache.add({str(number): number})
    assert all(cache.get(str(number)) == number for number in range(count - GENERATION, count))
    assert cache.get("0") is None
    assert len(cache) <= 2 * GENERATION


def test_a_fingerprint_may_be_zero() -> None:
    cache = DedupCache()
    cache.add({"a": 0})
    assert cache.get("a") == 0
