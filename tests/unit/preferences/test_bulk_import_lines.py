"""A file is read in batches that end at lines; a bad line is named and hides no other."""

import io
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.preferences.bulk_import import read_batches
from tests.unit.preferences.preference_builders import an_update

GOOD = msgspec.json.encode(an_update())
LINES = st.lists(st.sampled_from([GOOD, b"", b"{}", b"not json", b'{"user_id": "x" ', b"x" * 70_000]), max_size=40)


@given(LINES, st.integers(1, 7), st.booleans())
def test_every_line_is_an_update_bad_or_blank(lines: Any, size: Any, ends_with_newline: Any) -> None:
    content = b"\n".join(lines) + (b"\n" if ends_with_newline and lines else b"")
    batches = list(read_batches(io.BytesIO(content), 0, lambda user_id: 3, size))
    numbers = sorted([n for b in batches for n in b.numbers] + [n for b in batches for n, _ in b.bad])
    assert numbers == [number for number, line in enumerate(lines, 1) if line]
    assert [number for batch in batches for number in batch.numbers] == [
        n for n, line in enumerate(lines, 1) if line == GOOD
    ]
    assert all(len(batch.updates) == len(batch.numbers) for batch in batches)
    assert not batches or batches[-1].offset == len(content)


@given(LINES, st.integers(1, 7))
def test_reading_goes_on_where_a_batch_ended(lines: Any, size: Any) -> None:
    content = b"\n".join(lines)
    whole = list(read_batches(io.BytesIO(content), 0, lambda user_id: 3, size))
    for place, batch in enumerate(whole):
        file = io.BytesIO(content)
        file.seek(batch.offset)
        assert list(read_batches(file, batch.lines, lambda user_id: 3, size)) == whole[place + 1 :]
