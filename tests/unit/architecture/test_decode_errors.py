"""What a decoder raises has one name: a place that leaves one of the errors out ends on a record that is nested too deep, or not UTF-8."""

from __future__ import annotations

import re

import msgspec
import pytest

from notify_streams.field_errors import DECODE_ERRORS
from tests.unit.architecture.source_tree import module_files

_SPELT_OUT = re.compile(r"except \([^)]*msgspec\.(?:DecodeError|MsgspecError), UnicodeDecodeError")


def test_no_module_spells_them_out() -> None:
    found = [name for name, file in module_files().items() if _SPELT_OUT.search(file.read_text())]
    assert not found


@pytest.mark.parametrize("value", [b"", b"{", b"[1]", b'{"a": "\xff"}', b"[" * 100_000, b'{"a":' * 100_000])
def test_each_of_them_is_caught(value: bytes) -> None:
    with pytest.raises(DECODE_ERRORS):
        msgspec.json.decode(value, type=dict[str, object])
