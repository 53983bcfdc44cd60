"""How long a provider may keep a message that it cannot hand over at once."""

from __future__ import annotations


def ttl_s(expires_at_ms: int | None, now_ms: int, longest_s: int) -> int | None:
    """Whole seconds left, rounded down, between 0 and `longest_s`; None: it never expires."""
    if expires_at_ms is None:
        return None
    return max(0, min((expires_at_ms - now_ms) // 1000, longest_s))
