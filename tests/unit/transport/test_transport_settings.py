"""Settings that cannot work are refused, with the name of the setting."""

from typing import Any

import pytest

from notify_streams.transport import TransportSettings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"session_timeout_s": 1.0, "heartbeat_s": 0.9}, "heartbeat_s"),
        ({"drain_timeout_s": 30.0}, "drain_timeout_s"),
        ({"max_batch_records": 0}, "max_batch_records"),
    ],
)
def test_a_bad_setting_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TransportSettings(**settings)
