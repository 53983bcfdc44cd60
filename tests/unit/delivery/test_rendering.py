"""What a person reads."""

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.delivery.rendering import data_of, text_of
from tests.builders import a_message, categories

CATEGORIES = categories()


def said(data=None, **but):
    message = a_message(data=data, **but)
    return text_of(message, CATEGORIES, data_of(message))


def raw(text: bytes):
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
    pytest.param("\\g<0>\\1", "\\g<0>\\1", id="what a pattern would take for a group"),
    pytest.param(10**30, str(10**30), id="an integer beyond 64 bits"),
]


@pytest.mark.parametrize(("value", "shown"), VALUES)
def test_a_placeholder_is_filled_from_the_data(value, shown):
    assert said({"amount": value}) == ("Payment received", f"You received {shown}.")


def test_a_name_that_the_data_lacks_becomes_nothing():
    assert said({}).body == "You received ." == said(None).body


def test_a_messages_own_words_are_taken_as_they_are():
    assert said({"x": 1}, template=None, title="{x}", body="{y}") == ("{x}", "{y}")


def test_a_template_wins_over_words_that_came_with_it():
    assert said({"amount": "1"}, title="T", body="B") == ("Payment received", "You received 1.")


@pytest.mark.parametrize("but", [{"template": "gone"}, {"category": "gone"}, {"category": "marketing"}])
def test_a_template_that_is_gone_says_nothing(but):
    assert said({}, **but) is None


def test_no_data_is_an_empty_object():
    assert data_of(a_message(data=None)) == {}


@pytest.mark.parametrize("text", [b"[1]", b"5", b"null", b'{"a":', b'{"a":"\xff"}'])
def test_what_is_no_object_is_an_error_that_the_caller_knows(text):
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        data_of(raw(text))


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 10**40])
def test_integers_that_few_encoders_can_write_become_their_digits(number):
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
def test_whatever_the_data_is_it_can_be_encoded_again_and_shown(data):
    message = a_message(data=data)
    found = data_of(message)
    orjson.dumps(found)
    assert isinstance(text_of(message, CATEGORIES, found).body, str)
