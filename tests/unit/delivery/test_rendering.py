"""Rendering of titles and bodies."""

from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.delivery.rendering import Text, data_of, text_of
from notify_streams.records.channel_message import ChannelMessage
from tests.builders import a_message, categories

CATEGORIES = categories()


def rendered(data: object = None, **but: Any) -> Text | None:
    message = a_message(data=data, **but)
    return text_of(message, CATEGORIES, data_of(message))


def raw(text: bytes) -> ChannelMessage:
    return msgspec.structs.replace(a_message(data=None), data=msgspec.Raw(text))


VALUES = [
    pytest.param("12.50", "12.50", id="text"),
    pytest.param(12, "12", id="integer"),
    pytest.param(12.5, "12.5", id="number"),
    pytest.param(True, "true", id="boolean"),
    pytest.param(None, "", id="null"),
    pytest.param("", "", id="empty"),
    pytest.param([1, "x"], '[1,"x"]', id="list"),
    pytest.param({"a": None}, '{"a":null}', id="object"),
    pytest.param("{amount}", "{amount}", id="a placeholder, which is not filled again"),
    pytest.param("\\g<0>\\1", "\\g<0>\\1", id="a group reference of a regular expression"),
    pytest.param(10**30, str(10**30), id="an integer beyond 64 bits"),
]


@pytest.mark.parametrize(("value", "text"), VALUES)
def test_a_placeholder_is_filled_from_the_data(value: object, text: str) -> None:
    assert rendered({"amount": value}) == ("Payment received", f"You received {text}.")


def test_a_placeholder_without_a_value_becomes_empty() -> None:
    assert rendered({}) == rendered(None) == ("Payment received", "You received .")


def test_a_messages_own_text_is_not_changed() -> None:
    assert rendered({"x": 1}, template=None, title="{x}", body="{y}") == ("{x}", "{y}")


def test_a_template_takes_precedence_over_a_messages_own_text() -> None:
    assert rendered({"amount": "1"}, title="T", body="B") == ("Payment received", "You received 1.")


@pytest.mark.parametrize("but", [{"template": "gone"}, {"category": "gone"}, {"category": "marketing"}])
def test_a_missing_template_is_none(but: dict[str, str]) -> None:
    assert rendered({}, **but) is None


def test_no_data_is_an_empty_object() -> None:
    assert data_of(a_message(data=None)) == {}


@pytest.mark.parametrize("text", [b"[1]", b"5", b"null", b'{"a":', b'{"a":"\xff"}'])
def test_data_that_is_not_an_object_is_an_error(text: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        data_of(raw(text))


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 10**40])
def test_integers_beyond_64_bits_become_strings(number: int) -> None:
    found = data_of(raw(b'{"a":[{"b":%d}]}' % number))["a"][0]["b"]
    assert found == (number if -(2**63) <= number < 2**63 else str(number))


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(data=st.dictionaries(st.text(st.characters(codec="utf-8")), plain, max_size=4))
def test_all_data_can_be_encoded_and_rendered(data: dict[str, object]) -> None:
    message = a_message(data=data)
    found = data_of(message)
    orjson.dumps(found)
    assert text_of(message, CATEGORIES, found) is not None
