"""The rule for ids and names."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.records.names import name_fault

UNFIT = ["\0", "\t", "\n", "\r\n", "\x1c", "\x7f", "\x85", "\u2028", "\u2029", "\ud800"]


@pytest.mark.parametrize("character", UNFIT, ids=ascii)
@pytest.mark.parametrize("place", ["{}ab", "a{}b", "ab{}"])
def test_a_control_character_is_a_fault_wherever_it_is(place: str, character: str) -> None:
    found = name_fault("id", place.format(character))
    assert found is not None and "`id`" in found and character not in found


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u2003", "\u3000"], ids=ascii)
def test_a_blank_is_a_fault_only_at_an_end(blank: str) -> None:
    assert name_fault("id", f"{blank}a") and name_fault("id", f"a{blank}") and name_fault("id", blank)
    assert name_fault("id", f"a{blank}b") is None


@pytest.mark.parametrize(
    "text", ["", "a", "0198c0de-1234-7abc", "a b", "漢", "👩‍💻", "a\u200db", "=?x?=", "%00", "a\u00adb"]
)
def test_other_characters_are_right(text: str) -> None:
    assert name_fault("id", text) is None


@given(text=st.text(st.characters()))
def test_the_fault_is_told_by_the_categories(text: str) -> None:
    unfit = any(unicodedata.category(one) in {"Cc", "Zl", "Zp", "Cs"} for one in text) or text != text.strip()
    assert (name_fault("id", text) is not None) is unfit
