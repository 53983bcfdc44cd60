"""What a template can do, and what it cannot."""

import random
from decimal import Decimal
from typing import Any

import pytest
from babel.numbers import format_currency, format_decimal
from jinja2 import TemplateError
from jinja2.exceptions import SecurityError, UndefinedError

from notify_streams.templates.formats import babel_locale, formats_for
from notify_streams.templates.sandbox import MAX_PART, Part, TextTooLong


def rendered(source: str, locale: str = "en", *, html: bool = False, zone: str = "UTC", **data: Any) -> str:
    return Part(source, "part", html=html).render(data, formats_for(locale, locale, zone))


@pytest.mark.parametrize(
    "source",
    [
        "{{ x.__class__ }}",
        "{{ x['__class__'] }}",
        "{{ x.__init__.__globals__ }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ '{0.__class__}'.format(x) }}",
        "{{ x.append(1) }}",
    ],
)
def test_python_cannot_be_reached(source: str) -> None:
    with pytest.raises((SecurityError, UndefinedError)):
        rendered(source, x=[])


@pytest.mark.parametrize(
    "source",
    [
        "{% include 'x' %}",
        "{% extends 'x' %}",
        "{% import 'x' as y %}",
        "{% autoescape false %}{{ x }}{% endautoescape %}",
        "{{ x|safe }}",
        "{{ x|attr('y') }}",
        "{{ x|center(9) }}",
    ],
)
def test_what_is_not_in_the_language_is_refused_at_the_start(source: str) -> None:
    with pytest.raises(TemplateError):
        Part(source, "part", html=True)


@pytest.mark.parametrize(
    "source", ["{{ range(9) }}", "{{ lipsum() }}", "{{ x.y }}", "{{ y|number }}", "{{ y|isolate }}"]
)
def test_an_unknown_name_is_an_error(source: str) -> None:
    with pytest.raises((UndefinedError, TypeError)):
        rendered(source, x={})


@pytest.mark.parametrize(
    ("source", "required", "optional"),
    [
        ("{{ a }} {{ b.c }} {% for d in e %}{{ d }}{% endfor %}", {"a", "b", "e"}, set()),
        ("{% if a is defined %}{{ a }}{% endif %}", set(), {"a"}),
        ("{% if a is not defined %}x{% else %}{{ a }}{% endif %}", set(), {"a"}),
        ("{{ a|default('x') }}{{ b|d(c) }}", {"c"}, {"a", "b"}),
        ("{{ a.b|default('x') }}", {"a"}, set()),
        ("{% set a = b %}{{ a }}", {"b"}, set()),
    ],
)
def test_a_name_that_is_tested_is_optional(source: str, required: set[str], optional: set[str]) -> None:
    variables = Part(source, "part", html=False).variables
    assert ({*variables.required}, {*variables.optional}) == (required, optional)


@pytest.mark.parametrize(
    ("locale", "number", "text"),
    [
        ("en", 1, "1 file"),
        ("en", 0, "0 files"),
        ("en", "x", "x files"),
        ("en", 1.5, "1.5 files"),
        ("en", 1.0, "1 file"),
        ("en", "1.00", "1 file"),
        ("ar", 0, "0 zero"),
        ("ar", 2, "2 two"),
        ("ar", 3, "3 few"),
        ("ar", 11, "11 many"),
        ("ar", 100, "100 files"),
    ],
)
def test_a_plural_is_the_locales(locale: str, number: Any, text: str) -> None:
    forms = 'zero="# zero", one="# file", two="# two", few="# few", many="# many", other="# files"'
    assert rendered("{{ n|plural(" + forms + ") }}", locale, n=number) == text


@pytest.mark.parametrize(
    ("source", "locale", "text"),
    [
        ('{{ v|money("EUR") }}', "de", "1.234,50\u00a0€"),
        ('{{ v|money("JPY") }}', "en", "¥1,234"),
        ('{{ v|money("euro") }}', "en", "1,234.50"),
        ("{{ v|number }}", "hi", "1,234.5"),
        ('{{ t|date("long") }}', "pt-BR", "2 de março de 2026"),
        ("{{ t|time }}", "en-GB", "01:30"),
        ('{{ "2026-03-01"|date }}', "en", "Mar 1, 2026"),
        ('{{ "9999-12-31T23:59:59Z"|datetime }}', "en", "9999-12-31T23:59:59Z"),
        ("{{ 5|date }}", "en", "5"),
        ('{{ "2026-03-01"|time }}', "en", "2026-03-01"),
        ('{{ "2026-03-01"|datetime }}', "en", "Mar 1, 2026"),
        ('{{ "2026-13-01"|date }}', "en", "2026-13-01"),
        ("{{ v|isolate }}", "ar", "\u20681234.5\u2069"),
    ],
)
def test_values_are_written_as_the_locale_does(source: str, locale: str, text: str) -> None:
    assert rendered(source, locale, zone="Europe/Berlin", v=1234.5, t="2026-03-02T00:30:00Z") == text


@pytest.mark.parametrize(
    "locale", ["en", "de", "de-CH", "fr", "es", "pl", "ar", "fa", "hi", "sv", "ja", "pt-PT", "en-IN", "nl", "he"]
)
@pytest.mark.parametrize("currency", [None, "", "EUR", "JPY", "KWD", "ZZZ"])
def test_numbers_are_those_of_babel(locale: str, currency: str | None) -> None:
    known = babel_locale(locale)
    formats = formats_for(locale, locale, "UTC")
    draw = random.Random(f"{locale} {currency}")
    drawn = [f"{draw.randrange(10 ** draw.randrange(1, 15))}.{draw.randrange(10**6):06}" for _ in range(20)]
    for text in (
        *drawn,
        "0",
        "0.0004",
        "0.0005",
        "0.005",
        "0.015",
        "0.5",
        "1.5",
        "2.5",
        "999.9999",
        "1000",
        "100",
        "-0",
        "-0.0001",
    ):
        for value in (text, f"-{text.lstrip('-')}"):
            number = Decimal(value)
            if currency is None:
                assert formats.number(value) == format_decimal(number, locale=known)
            elif currency:
                assert formats.money(value, currency) == format_currency(number, currency, locale=known)
            else:
                assert formats.money(value) == format_decimal(number, "#,##0.00", locale=known)


@pytest.mark.parametrize("zone", ["America/New_York", "UTC", "Pacific/Kiritimati"])
def test_a_day_is_the_same_in_every_time_zone(zone: str) -> None:
    assert rendered("{{ day|date }}", "en", zone=zone, day="2026-03-01") == "Mar 1, 2026"


@pytest.mark.parametrize("name", ["items", "keys", "values", "get", "copy", "pop", "update"])
def test_data_may_have_the_names_of_pythons_methods(name: str) -> None:
    assert rendered("{{ order." + name + "|join(', ') }}", "en", order={name: ["a", "b"]}) == "a, b"
    with pytest.raises(UndefinedError):
        rendered("{{ order." + name + " }}", "en", order={})


def test_html_is_escaped_whatever_the_filter() -> None:
    found = rendered('{{ x }}{{ x|isolate }}{{ x|money }}{{ x|plural("#") }}{{ y }}', html=True, x="<b>", y=["<i>"])
    assert "<" not in found and found.count("&lt;") == 5


def test_what_data_can_cost_is_bounded() -> None:
    with pytest.raises(TextTooLong):
        rendered("{% for a in x %}{% for b in x %}{{ a }}{% endfor %}{% endfor %}", x=["<" * 100] * 1000)
    assert len(rendered("{{ x }}", x="y" * MAX_PART)) == MAX_PART
