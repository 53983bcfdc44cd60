"""Rendering of messages: which template, in which locale, with which data."""

from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notify_streams.delivery.rendering import data_of, text_of
from notify_streams.records.channel_message import ChannelMessage
from notify_streams.templates.catalog import RenderingError, Text
from tests.builders import a_message, categories, templates

CATEGORIES = categories()
TEMPLATES = templates()


def rendered(data: object = None, **but: Any) -> Text:
    message = a_message(data=data, **but)
    return text_of(message, CATEGORIES, TEMPLATES, data_of(message))


def raw(text: bytes) -> ChannelMessage:
    return msgspec.structs.replace(a_message(data=None), data=msgspec.Raw(text))


VALUES = [
    pytest.param("12.50", "12.50", id="a number as text"),
    pytest.param("a lot", "a lot", id="text"),
    pytest.param(12, "12.00", id="integer"),
    pytest.param(1234.5, "1,234.50", id="number"),
    pytest.param(True, "true", id="boolean"),
    pytest.param("", "", id="empty"),
    pytest.param([1, "x"], '[1,"x"]', id="list"),
    pytest.param({"a": None}, '{"a":null}', id="object"),
    pytest.param("{{ amount }}", "{{ amount }}", id="a template, which is not rendered"),
    pytest.param(10**30, str(10**30), id="an integer beyond 64 bits"),
    pytest.param(-1e300, "-1e300", id="a number of 300 digits"),
    pytest.param("1e999999", "1e999999", id="a million digits in a few"),
    pytest.param("9" * 1000, "9" * 1000, id="1,000 digits"),
]


@pytest.mark.parametrize(("value", "text"), VALUES)
def test_a_template_is_filled_from_the_data(value: object, text: str) -> None:
    found = rendered({"amount": value})
    assert (found.title, found.body, found.html) == ("Payment received", f"You received {text}.", None)


@pytest.mark.parametrize("data", [{}, None, {"amount": None}, {"Amount": "1"}])
def test_a_missing_value_is_an_error_and_never_an_empty_place(data: object) -> None:
    with pytest.raises(RenderingError, match="UndefinedError"):
        rendered(data)


@pytest.mark.parametrize(
    ("locale", "zone", "body", "used"),
    [
        (None, None, "A sign-in from Zoë's phone, 3/1/26, 11:05\u202fPM.", "en"),
        ("en-GB", "Europe/London", "A sign-in from Zoë's phone, 01/03/2026, 23:05.", "en"),
        ("de", "Europe/Berlin", "Anmeldung von Zoë's phone, 02.03.26, 00:05.", "de"),
        (
            "ar",
            "Africa/Cairo",
            "تسجيل دخول من \u2068Zoë's phone\u2069، \u20682\u200f/3\u200f/2026، 1:05 ص\u2069.",
            "ar",
        ),
    ],
)
def test_a_person_reads_their_own_language_and_time(locale: Any, zone: Any, body: str, used: str) -> None:
    data = {"device": "Zoë's phone", "at": "2026-03-01T23:05:00Z"}
    found = rendered(data, category="security", template="new_device", locale=locale, time_zone=zone)
    assert found.body == body
    assert str(found.version).partition(":")[0] == used


def test_a_mail_from_right_to_left_says_so() -> None:
    found = rendered({"device": "x"}, channel="email", category="security", template="new_device", locale="ar-EG")
    assert found.html is not None and '<html lang="ar" dir="rtl">' in found.html
    assert "<bdi>x</bdi>" in found.html
    assert found.title == "تسجيل دخول جديد" and found.body.startswith("تسجيل دخول من")


def test_html_in_the_data_stays_text() -> None:
    found = rendered({"amount": "<script>alert('1')</script>"}, channel="email")
    assert found.html is not None and "<script" not in found.html
    assert "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;" in found.html
    assert "<script>alert('1')</script>" in found.body, "a text part is not HTML"


@pytest.mark.parametrize("field", ["amount", "currency"])
def test_long_values_are_bounded(field: str) -> None:
    data = {"amount": "1", field: "<" * 100_000}
    assert len(rendered(data).body) < 100_100
    assert len(str(rendered(data, channel="email").html)) < 401_000


def test_deep_values_are_rendered_as_json() -> None:
    value: Any = "x"
    for _ in range(190):
        value = [value]
    assert rendered({"amount": value}).body == f'You received {"[" * 190}"x"{"]" * 190}.'


def test_a_messages_own_text_is_not_changed() -> None:
    assert rendered({"x": 1}, template=None, title="{x}", body="{{ y }}") == Text("{x}", "{{ y }}")


def test_a_template_takes_precedence_over_a_messages_own_text() -> None:
    assert rendered({"amount": "1"}, title="T", body="B").body == "You received 1.00."


@pytest.mark.parametrize("but", [{"template": "gone"}, {"category": "gone"}, {"category": "marketing"}])
def test_a_template_that_the_category_lacks_is_an_error(but: dict[str, str]) -> None:
    with pytest.raises(RenderingError, match="no such template"):
        rendered({"amount": "1"}, **but)


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
filled = plain.filter(lambda value: value is not None)


@settings(max_examples=50)
@given(
    amount=filled,
    rest=st.dictionaries(st.text(st.characters(codec="utf-8")), plain, max_size=4),
    currency=plain,
    locale=st.sampled_from(["en", "de-AT", "ar-EG", "x"]),
)
def test_all_data_can_be_encoded_and_rendered(amount: Any, rest: dict[str, Any], currency: Any, locale: str) -> None:
    for channel in ("push", "sms", "email"):
        message = a_message(data=rest | {"amount": amount, "currency": currency}, channel=channel, locale=locale)
        found = data_of(message)
        orjson.dumps(found)
        assert text_of(message, CATEGORIES, TEMPLATES, found).body
