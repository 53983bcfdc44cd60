"""`bench tables` calculates what a large installation needs from what it has measured; `bench steps --tables` compares."""

import orjson
from click.testing import CliRunner

from devtools.benchmarks.commands import steps
from devtools.benchmarks.tables.measure import figures_of
from devtools.benchmarks.tables.people import TOPICS, values_of
from devtools.benchmarks.tables.worker import Found
from notify_streams.preferences.row_codec import decode_row
from notify_streams.records.user_records import decode_contact_row, decode_location_record

GIB = 1024**3


def found(people: int, memory: int, each_on_disk: int, **but: float) -> Found:
    rows = dict.fromkeys(TOPICS, people)
    disk = dict.fromkeys(TOPICS, people * each_on_disk)
    rates = {"seconds": 10.0, "first_hits_per_s": 1e4, "hits_per_s": 1e6, "misses_per_s": 2e6} | but
    return Found(
        rows,
        memory_bytes=memory,
        memory_before_bytes=100_000_000,
        added_bytes=dict.fromkeys(TOPICS, (memory - 100_000_000) // 4),
        mapped_bytes=0,
        disk_bytes=disk,
        **rates,
    )


def test_100_million_people_are_calculated_from_a_tenth() -> None:
    memory, cold = found(1_000_000, 1_100_000_000, 0), found(10_000_000, 150_000_000, 150)
    figures = figures_of(10_000_000, memory, cold, found(10, 200_000_000, 150, seconds=1.0))
    assert figures["memory_tables_bytes_per_person"] == 1_000
    assert figures["memory_table_user_locations_bytes_per_person"] == 250
    assert figures["disk_tables_bytes_per_person"] == 450
    # 6.25M people a worker.
    assert figures["memory_tables_worker_memory_bytes_calculated"] == 100_000_000 + 6_250_000_000
    assert figures["disk_tables_worker_memory_bytes_calculated"] == 200_000_000 + 450 * 6_250_000
    assert figures["disk_tables_worker_recovery_s_calculated"] == round(6_250_000 * 3 / 3_000_000)
    assert figures["disk_tables_all_locations_disk_bytes_calculated"] == 150 * 100_000_000
    assert all(isinstance(value, int | float) for value in figures.values())


def test_the_rows_are_such_as_the_product_writes() -> None:
    location, contacts, choices = values_of(7, "u" * 16, "us")
    assert decode_location_record(location).region == "us"
    assert decode_contact_row(contacts).email == f"{'u' * 16}@example.org"
    assert len(decode_row(choices)[1]) == 3


def test_both_tables_give_every_trigger_its_outcome() -> None:
    arguments = ["--tables", "--people", "2000", "--triggers", "1000", "--rounds", "1", "--json"]
    result = CliRunner().invoke(steps, arguments)
    report = orjson.loads(result.stdout)
    (line,) = report["figures"]
    assert line["reference"] == "tables in memory" and line["goal"] == "at most 1.1 x reference"
    assert {name: len(rounds) for name, rounds in report["rounds"].items()} == {"memory": 1, "disk": 1}
