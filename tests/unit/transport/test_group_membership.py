"""The Kafka settings of a role: static members, how long their partitions wait, time-outs."""

from __future__ import annotations

import pytest

from devtools.stack.paths import PROJECT
from notify_streams.app import build_app
from notify_streams.settings import load_settings
from notify_streams.transport.app_state import app_state


@pytest.mark.parametrize(
    ("role", "instance", "member", "session_s"),
    [
        ("standard", "", None, 6.0),
        ("standard", "standard-0", "standard-0", 60.0),
        ("registry", "registry-1", "registry-1", 60.0),
        ("critical", "critical-0", None, 1.5),
    ],
)
def test_a_role_that_is_not_critical_is_a_static_member_under_its_pods_name(
    monkeypatch: pytest.MonkeyPatch, role: str, instance: str, member: str | None, session_s: float
) -> None:
    monkeypatch.setenv("NOTIFY_CONFIG_DIR", str(PROJECT / "config"))
    environ = {"NOTIFY_BROKER__INSTANCE": instance}
    app = build_app(load_settings("us", environ=environ, config_dir=PROJECT / "config"), role)
    settings = app_state(app).settings
    assert (settings.group_instance_id, settings.session_timeout_s) == (member, session_s)


def test_the_producer_gives_a_batch_up_after_the_time_that_the_outbox_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the outbox gave up first, it would send again what the producer goes on to send."""
    monkeypatch.setenv("NOTIFY_CONFIG_DIR", str(PROJECT / "config"))
    environ = {"NOTIFY_OUTBOX__PUBLISH_TIMEOUT_S": "7"}
    app = build_app(load_settings("us", environ=environ, config_dir=PROJECT / "config"), "standard")
    assert app_state(app).settings.produce_timeout_s == 7.0
