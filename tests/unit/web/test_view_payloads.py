"""The payloads of the views."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from devtools.stack.paths import PROJECT
from notify_streams import metrics
from notify_streams.preferences.categories import load_categories
from notify_streams.preferences.choices import EMPTY_RECORD, ChoiceChange, merge
from notify_streams.records.devices import Device
from notify_streams.records.user_records import Contacts
from notify_streams.regions.failover.placement import Placement
from notify_streams.regions.failover.protocol import HomeRegion
from notify_streams.settings import Settings
from notify_streams.transport import RecoveryProgress, Stuck
from notify_streams.transport.watchdog import Reason
from notify_streams.web.dead_letters import dead_letter_payload, parse_limit
from notify_streams.web.health import failing, health
from notify_streams.web.lag import PartitionLag, lag_payload
from notify_streams.web.metrics import set_gauges
from notify_streams.web.regions import regions_payload
from notify_streams.web.summary import Health
from notify_streams.web.users import contacts_payload, preferences_payload

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@dataclass
class ARecord:
    headers: list[tuple[str, bytes]]
    value: bytes | None = b"\xffhello"
    key: bytes | None = b"u-1"
    topic: str = "dead_letters"
    partition: int = 3
    offset: int = 7
    timestamp: int = 1_700_000_000_000


WHY = [
    ("reason", b"invalid"),
    ("detail", b"no id"),
    ("topic", b"triggers.payments"),
    ("partition", b"3"),
    ("offset", b"9"),
]


def test_forged_headers_do_not_replace_the_added_ones() -> None:
    found = dead_letter_payload(ARecord([("reason", b"forged"), ("traceparent", b"00-x"), *WHY]))
    assert (found["reason"], found["offset"]) == ("invalid", "9")
    assert found["headers"] == [("reason", "forged"), ("traceparent", "00-x")]


def test_a_value_and_headers_are_truncated() -> None:
    assert dead_letter_payload(ARecord(WHY))["value"] == "\ufffdhello"
    assert len(dead_letter_payload(ARecord(WHY, value=b"x" * 9_999))["value"]) == 2_000
    assert len(dead_letter_payload(ARecord(WHY, value="é".encode() * 9_999))["value"]) == 2_000
    assert dead_letter_payload(ARecord(WHY, value=None, key=None))["value"] is None
    headers = dead_letter_payload(ARecord([("long", b"x" * 9_999), *[("many", b"")] * 99, *WHY]))["headers"]
    assert len(headers) == 50 and len(headers[0][1]) == 2_000


LIMITS = {None: 20, "1": 1, "100": 100, "101": None, "0": None, "-1": None, "x": None, "9" * 5000: None, "²": None}


@pytest.mark.parametrize(("text", "limit"), LIMITS.items(), ids=[str(text)[:9] for text in LIMITS])
def test_limits(text: str | None, limit: int | None) -> None:
    assert parse_limit(text) == limit


def test_preferences_of_all_categories_and_channels_are_shown() -> None:
    categories = load_categories(PROJECT / "config" / "categories.yaml")
    marketing = categories["marketing"].number
    record = merge(
        EMPTY_RECORD, [ChoiceChange(marketing, "push", False, NOON), ChoiceChange(marketing, "email", True, NOON)], NOON
    )
    found = preferences_payload(categories, record)
    assert found["version"] == 2
    assert found["categories"]["marketing"]["push"] == {
        "default": "in",
        "sends": False,
        "choice": "out",
        "at": NOON,
        "version": 1,
    }
    assert found["categories"]["marketing"]["email"]["sends"]
    assert found["categories"]["security"]["push"] == {"default": "always", "sends": True, "choice": None}
    assert {name: set(found["categories"][name]) for name in categories} == {
        name: set(one.channels) for name, one in categories.items()
    }


def test_contacts_are_shown_and_null_if_none_were_ever_sent() -> None:
    shown = {"push": None, "sms": None, "email": "a@b", "updated_at": NOON}
    assert contacts_payload(Contacts("u-1", NOON, email="a@b")) == shown
    assert contacts_payload(None) is None


def test_devices_are_shown_without_their_tokens() -> None:
    found = contacts_payload(
        Contacts("u-1", NOON, devices=(Device("phone-token", "fcm"), Device("tablet-token", "apns")))
    )
    assert found is not None and found["push"] is None
    assert [(one["token_end"], one["provider"]) for one in found["devices"]] == [("oken", "fcm"), ("oken", "apns")]
    assert "phone" not in str(found)


def progress(caught_up: bool) -> RecoveryProgress:
    return RecoveryProgress("preferences", 10, 0 if caught_up else 30, 100.0, 0.3, caught_up)


def health_with(
    *, is_ready: bool = True, tables: Sequence[RecoveryProgress] = (), waiting_for: Sequence[str] = ()
) -> Health:
    return health([], None, is_ready=is_ready, tables=tables or [progress(True)], waiting_for=waiting_for)


def test_ready_needs_recovered_tables_open_partitions_and_what_is_around_the_worker() -> None:
    assert health_with().ready
    for found in (
        health_with(is_ready=False),
        health_with(is_ready=False, tables=[progress(False)]),
        health_with(waiting_for=["placement: 1 of 2 logs"]),
    ):
        assert not found.ready
        assert found.waiting_for
        assert found.live


def test_stuck_is_not_live() -> None:
    found = health([Stuck("push-3", Reason.NOT_PROCESSED, 31.0)], None, is_ready=True, tables=[])
    assert not found.live and not found.ready
    assert "push-3" in found.stuck[0]


def test_a_call_that_fails_for_long_is_shown_and_a_short_one_is_not() -> None:
    assert failing({"outbox.commit": 25.4, "forward": 9.9}) == ["outbox.commit fails for 25 s"]


def test_lag_is_summed_by_topic() -> None:
    found = lag_payload(
        [PartitionLag("push", 0, 5, 9, 4), PartitionLag("push", 1, None, 3, 3), PartitionLag("sms", 0, 1, 1, 0)]
    )
    assert (found["records"], found["topics"]) == (7, {"push": 7, "sms": 0})


def test_a_revoked_partition_has_no_lag() -> None:
    set_gauges([PartitionLag("push", 0, 5, 9, 4)], [progress(True)])
    assert b'notify_lag_records{partition="0",topic="push"} 4.0' in metrics.exposition()
    assert b'notify_recovery_keys{table="preferences"} 10.0' in metrics.exposition()
    set_gauges([], [])
    assert b"notify_lag_records{" not in metrics.exposition()


def the_settings() -> Settings:
    return Settings(region="us", standby="eu", kafka="k", shards=("m",), redis="r", remote_kafka={"eu": "k"})


def test_regions_show_the_placement_and_waiting_records() -> None:
    homes = {"us": HomeRegion("us"), "eu": HomeRegion("us", 3, "us", 3), "asia": HomeRegion(None, 1, "eu", 1)}
    found = regions_payload(the_settings(), Placement("us", homes), {"eu": 12, "asia": 0})
    by_name = {one["region"]: one for one in found["regions"]}
    eu, asia = by_name["eu"], by_name["asia"]
    assert (eu["served_by"], eu["epoch"], eu["waiting_records"], eu["forwarding"]) == ("us", 3, 12, True)
    assert (asia["served_by"], asia["open_claim"], asia["forwarding"]) == (None, True, False)


def test_regions_before_anything_is_known() -> None:
    found = regions_payload(the_settings(), None, None, "this region's control log", {"asia"})
    assert not found["known"]
    assert (found["waiting_for"], found["unreachable"]) == ("this region's control log", ["asia"])
    assert [one["waiting_records"] for one in found["regions"]] == [0, None, None]
