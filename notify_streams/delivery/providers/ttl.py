"""Time to live: how long a provider may store an undelivered message."""

from __future__ import annotations


def ttl_s(expires_at_ms: int | None, now_ms: int, max_s: int) -> int | None:
    """Whole seconds left, rounded down, between 0 and `max_s`; None: no expiry."""
    if expires_at_ms is None:
        return None
    return max(0, min((expires_at_ms - now_ms) // 1000, max_s))
