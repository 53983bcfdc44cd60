"""Every reader answers to every record that the fuzz test can draw, in a time that its bytes explain."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devtools.chaos.fuzz.corpus import known_cases, valid_seeds
from devtools.chaos.fuzz.mutations import SHAPES, draw_record
from devtools.chaos.fuzz.records import RawRecord, load, save
from notify_streams.delivery.receipts import read_receipt
from notify_streams.records.trigger import Rejection, Trigger, may_be_critical, read_trigger
from notify_streams.records.user_records import read_contacts, read_preference_update, read_signup
from notify_streams.regions.failover.log import read_control_record
from notify_streams.regions.failover.protocol import fold, initial_homes
from notify_streams.regions.forwarding.headers import arrival_headers, read_forwarding_headers
from notify_streams.routing.lane import read_trigger_for_lane
from notify_streams.topics import REGION_CONTROL, USER_CONTACTS
from tests.builders import ARecord, categories, some_settings

NOW = datetime(2026, 11, 28, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
SETTINGS = some_settings(regions=["us", "eu", "asia"])
SEEDS = [*known_cases(NOW), *valid_seeds(SETTINGS, NOW)]
READERS: dict[str, Callable[[bytes | None, int], object]] = {
    "preference_updates": read_preference_update,
    USER_CONTACTS: read_contacts,
    "user_signups": read_signup,
    "receipts": read_receipt,
    REGION_CONTROL: read_control_record,
}


def read_everywhere(record: RawRecord) -> list[object]:
    """As workers read it: header names are text, whatever their bytes."""
    headers = [(name.decode(errors="backslashreplace"), content) for name, content in record.headers]
    read_forwarding_headers(headers)  # type: ignore[arg-type]
    arrival_headers(headers)  # type: ignore[arg-type]
    found: list[object] = [read_trigger(record.value, headers)]
    for lane in ("critical", "standard"):
        source = ARecord(record.value, record.key, headers)
        found.append(read_trigger_for_lane(lane, source, "payments", categories(), 256 * 1024))
    found += [read(record.value, NOW_MS) for read in READERS.values()]
    return [*found, read_contacts(record.value, NOW_MS, record.key)]


@given(st.integers(0, 2**32), st.integers(0, len(SEEDS) - 1))
def test_every_reader_answers_to_every_record(number: int, at: int) -> None:
    record = draw_record([SEEDS[at]], 8, Random(number))
    for found in read_everywhere(record):
        msgspec.json.encode(found)  # what is stored or handed on can be written
        if isinstance(found, Rejection):
            found.detail.encode()
    control = read_control_record(record.value, NOW_MS)
    if not isinstance(control, Rejection):
        fold(initial_homes(SETTINGS.regions), [control])


@pytest.mark.parametrize("seed", valid_seeds(SETTINGS, NOW), ids=lambda seed: seed.topic)
def test_the_seeds_are_valid(seed: object) -> None:
    """A corpus of records that all fail at the first field would test the decoder alone."""
    topic, value, key = seed.topic, seed.value, seed.key  # type: ignore[attr-defined]
    if topic.startswith("triggers."):
        assert isinstance(read_trigger(value, []), Trigger)
    elif topic == USER_CONTACTS:
        assert not isinstance(read_contacts(value, NOW_MS, key), Rejection)
    else:
        assert not isinstance(READERS[topic](value, NOW_MS), Rejection)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_time_to_read_a_shape_grows_as_its_bytes(shape: str) -> None:
    def seconds(size: int) -> float:
        record = RawRecord("triggers.payments", 0, b"u", SHAPES[shape](size))
        taken = []
        for _ in range(3):
            started = time.process_time()
            read_everywhere(record)
            may_be_critical(record.value, [])
            taken.append(time.process_time() - started)
        return min(taken)

    # 16 times the bytes: quadratic work would take 256 times the time. The small ones are below the clock's resolution.
    assert seconds(240_000) < 60 * max(seconds(15_000), 0.002)


def test_records_can_be_saved_for_a_repetition(tmp_path: Path) -> None:
    draw = Random(7)
    records = [draw_record(SEEDS, 8, draw) for _ in range(50)]
    save(records, tmp_path / "new" / "batch.jsonl")
    assert load(tmp_path / "new" / "batch.jsonl") == records
