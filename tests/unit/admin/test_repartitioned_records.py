"""The audit counts a copy of a record in a wrong partition, and no record of a client that only says that it is one."""

from __future__ import annotations

import pytest

from notify_streams.admin.audit.region_part import RegionPart
from notify_streams.admin.audit.repartitioned import copies, is_released, rows_of
from notify_streams.admin.audit.snapshot import Extent
from notify_streams.topics import FORWARDED
from tests.builders import PARTITIONS, ARecord, some_settings, trigger_json, users_of

TOPIC = "triggers.payments"
(USER,) = users_of(3, 1)
VALUE = trigger_json(user_id=USER)
EXTENTS = {(topic, partition): Extent(100, 200) for topic in (TOPIC, FORWARDED) for partition in range(PARTITIONS)}


def counted(*records: tuple[str, int, int, bytes, str]) -> dict[str, int]:
    """`records`: topic, partition, offset, value, source."""
    part = RegionPart()
    for topic, partition, offset, value, source in records:
        for row in rows_of(some_settings(), topic, partition, ARecord(value, offset=offset), source):
            part.add_source(row)
    return dict(copies(part.claims, part.astray, EXTENTS))


ASTRAY = (TOPIC, 5, 150, VALUE, "")
COPY = (TOPIC, 3, 160, VALUE, f"{TOPIC}:5:150")


@pytest.mark.parametrize("records", [(ASTRAY, COPY), (COPY, ASTRAY)], ids=["copy last", "copy first"])
def test_a_copy_counts_whatever_is_read_first(records: tuple[tuple[str, int, int, bytes, str], ...]) -> None:
    assert counted(*records) == {f"{TOPIC}:5:150": 1}
    assert counted(*records, COPY) == {f"{TOPIC}:5:150": 2}, "published twice"


@pytest.mark.parametrize(
    "record",
    [
        pytest.param((TOPIC, 3, 160, VALUE, f"{TOPIC}:0:150"), id="a source that lies right"),
        pytest.param((TOPIC, 3, 160, VALUE, f"{TOPIC}:5:199"), id="a source that does not exist"),
        pytest.param((TOPIC, 3, 160, trigger_json(user_id=USER, id="x"), f"{TOPIC}:5:150"), id="another value"),
        pytest.param((TOPIC, 3, 160, VALUE, f"{TOPIC}:x:y"), id="no place"),
        pytest.param((TOPIC, 3, 160, VALUE, "app"), id="a client's own meaning"),
        pytest.param((FORWARDED, 3, 160, VALUE, f"{FORWARDED}:3:17"), id="forwarded twice"),
    ],
)
def test_what_a_client_writes_as_a_source_counts_for_nothing(record: tuple[str, int, int, bytes, str]) -> None:
    assert counted(ASTRAY, record) == {}


def test_the_copy_of_a_record_that_kafka_has_deleted_counts() -> None:
    assert counted((TOPIC, 3, 160, VALUE, f"{TOPIC}:5:99")) == {f"{TOPIC}:5:99": 1}


def test_a_record_that_is_too_large_is_not_repartitioned() -> None:
    value = trigger_json(user_id=USER, body="x" * 300_000)
    assert counted((TOPIC, 5, 150, value, ""), (TOPIC, 3, 160, value, f"{TOPIC}:5:150")) == {}


@pytest.mark.parametrize(
    ("topic", "partition", "source", "waited", "released"),
    [
        pytest.param(TOPIC, 3, f"{TOPIC}:3:150", f"{TOPIC}:3:150", True, id="it waited here"),
        pytest.param(TOPIC, 7, f"{TOPIC}:3:150", f"{TOPIC}:3:150", True, id="the region has grown since"),
        pytest.param(FORWARDED, 3, f"{TOPIC}:3:160", f"{TOPIC}:3:150", False, id="it waited in another region"),
        pytest.param(FORWARDED, 3, f"{TOPIC}:3:150", f"{TOPIC}:3:150", False, id="of another topic"),
        pytest.param(
            TOPIC, 3, f"{TOPIC}:5:150", f"{TOPIC}:5:150", False, id="repartitioned, a client guessed its place"
        ),
        pytest.param(TOPIC, 3, f"{TOPIC}:5:150", "app", False, id="repartitioned, with a client's header"),
        pytest.param(TOPIC, 3, "", "app", False, id="a client's header"),
        pytest.param(TOPIC, 3, "", "", False, id="neither"),
    ],
)
def test_a_released_trigger_is_told_from_one_that_only_says_that_it_waited(
    topic: str, partition: int, source: str, waited: str, released: bool
) -> None:
    former = {7: (3,)}.get(partition, ())
    assert is_released(topic, partition, source, waited, former) is released
