"""The erasure log: read back as it was printed; anything else is refused with its place."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from notify_streams.admin.restore.erasures import ErasedPerson, read_erasure_log
from notify_streams.errors import Refused

ONE = ErasedPerson(person="person:abc", bucket=3, partitions=8, requested_at=datetime(2026, 11, 28, tzinfo=UTC))


def test_a_log_that_was_exported_twice_has_each_person_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(msgspec.json.encode(ONE) + b"\n")
    assert read_erasure_log([tmp_path / "a", tmp_path / "b"], 8) == {"person:abc": ONE}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"person":"p"}', "not a line of `users erased`"),
        (b"", "not a line of `users erased`"),
        (
            msgspec.json.encode(msgspec.structs.replace(ONE, bucket=8)),
            "bucket 8 of 8, though the region has 8 partitions",
        ),
    ],
    ids=["another object", "empty", "no bucket"],
)
def test_another_line_is_refused_with_its_place(tmp_path: Path, line: bytes, why: str) -> None:
    file = tmp_path / "log"
    file.write_bytes(msgspec.json.encode(ONE) + b"\n" + line + b"\n")
    with pytest.raises(Refused, match=f"log:2: {why}"):
        read_erasure_log([file], 8)


def test_a_person_of_a_region_that_has_grown_is_looked_for_in_every_bucket_that_came_of_theirs(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(msgspec.json.encode(ONE))
    assert [*read_erasure_log([tmp_path / "log"], 16)["person:abc"].buckets(16)] == [3, 11]
    with pytest.raises(Refused, match="bucket 3 of 8, though the region has 12 partitions"):
        read_erasure_log([tmp_path / "log"], 12)
