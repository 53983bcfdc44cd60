"""A builder of provider messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from notify_streams.delivery.providers import Outgoing


@pytest.fixture
def an_outgoing() -> Callable[..., Outgoing]:
    def build(**but: Any) -> Outgoing:
        return Outgoing(
            **{
                "delivery_id": "d-1",
                "notification_id": "n-1",
                "channel": "push",
                "to": "token-1",
                "title": "Payment received",
                "body": "12.50 EUR have arrived.",
                **but,
            }
        )

    return build
