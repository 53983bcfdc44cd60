"""The topics of a region and their settings."""

import pytest

from notify_streams.roles import CHANNEL_ROLES, CHANNELS, LANES, ROLES, app_id, channel_of, channel_topic
from notify_streams.topics import DEAD_LETTERS, FORWARDED, all_topics, forward_topic, system_of, trigger_topics
from tests.builders import some_settings

SETTINGS = some_settings(trigger_systems=["payments", "risk"], regions=["us", "eu", "asia"], max_record_bytes=1_000_000)
SPECS = {spec.name: spec for spec in all_topics(SETTINGS)}


def test_the_topics_of_a_region() -> None:
    assert set(SPECS) >= {
        *("triggers.payments", "triggers.risk", "triggers.forwarded"),
        *("preference_updates", "user_contacts", "user_signups", "user_locations", "preference_rows", "contact_rows"),
        *("push", "sms", "email", "cric_push", "cric_sms", "cric_email"),
        *("forward.eu", "forward.asia", "receipts", "dead_letters"),
    }
    assert "forward.us" not in SPECS and "triggers.marketing" not in SPECS


def test_each_system_has_a_topic_of_its_own_for_its_events_but_those_without() -> None:
    def events(**but: bool) -> set[str]:
        specs = all_topics(some_settings(trigger_systems=["payments", "risk"], notification_events=but))
        return {spec.name for spec in specs if spec.name.startswith("notification_events.")}

    assert events() == {"notification_events.payments", "notification_events.risk"}
    assert events(risk=False) == {"notification_events.payments"}


def test_no_topic_is_named_twice() -> None:
    assert len(SPECS) == len(all_topics(SETTINGS))


def test_all_topics_with_users_have_the_same_partition_count() -> None:
    """The partition number is the user's bucket. The control log has no users."""
    assert {spec.partitions for name, spec in SPECS.items() if name != "region_control"} == {SETTINGS.partitions}


def test_routers_read_all_systems_and_forwarded_triggers() -> None:
    assert trigger_topics(SETTINGS) == ("triggers.payments", "triggers.risk", FORWARDED)


@pytest.mark.parametrize("name", [DEAD_LETTERS, FORWARDED, forward_topic("eu"), *CHANNEL_ROLES])
def test_topics_of_extended_records_allow_larger_ones(name: str) -> None:
    assert int(SPECS[name].config["max.message.bytes"]) >= 1_000_000 + 32 * 1024


def test_trigger_topics_have_the_configured_limit() -> None:
    assert SPECS["triggers.payments"].config["max.message.bytes"] == "1000000"


def test_locations_have_no_retention_limit() -> None:
    config = SPECS["user_locations"].config
    assert config["cleanup.policy"] == "compact" and "retention.ms" not in config


def test_channels_and_channel_roles() -> None:
    assert {channel_topic(channel, critical) for channel in CHANNELS for critical in (True, False)} == set(
        CHANNEL_ROLES
    )
    assert set(CHANNEL_ROLES) | set(LANES) <= set(ROLES)
    assert all(channel_of(role) in CHANNELS and role.endswith(channel_of(role)) for role in CHANNEL_ROLES)


@pytest.mark.parametrize("role", ["critical", "standard", "registry", "cric_", "cric_cric_push", ""])
def test_other_roles_have_no_channel(role: str) -> None:
    with pytest.raises(ValueError, match="not a channel role"):
        channel_of(role)


def test_an_app_id_names_region_and_role() -> None:
    assert app_id("us", "cric_push") == "notify-us-cric_push"


def test_a_topic_of_triggers_belongs_to_a_system_unless_regions_write_it() -> None:
    assert [system_of(topic) for topic in trigger_topics(SETTINGS)] == ["payments", "risk", None]
