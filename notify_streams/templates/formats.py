"""Numbers, money, times and plurals as a person reads them, by CLDR.

A value that cannot be formatted (a text for a number, a number of 100 digits) is shown as it is: data comes from senders, and no value
may make the formatting slow or fail.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_datetime, format_time
from babel.numbers import format_currency, format_decimal, get_currency_precision

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo

Style = Literal["short", "medium", "long", "full"]

#: A number in a JSON string. Longer ones are no amounts, and cost time.
_NUMBER: Final = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?\Z")
_MAX_NUMBER: Final = 10**15
#: CLDR's pattern for numbers.
_NUMBER_DECIMALS: Final = 3
#: Shows how a locale groups digits.
_PROBE: Final = "1111111.11111"
#: RFC 3339 with a few more digits.
_MAX_TIME: Final = 40
#: ``2026-03-01``
_DAY: Final = 10
#: ISO 4217
_CURRENCY: Final = re.compile(r"[A-Z]{3}\Z")
_CACHED: Final = 2048
#: First strong isolate and its end (https://www.unicode.org/reports/tr9/#Explicit_Directional_Isolates).
_ISOLATE: Final = "\u2068{}\u2069"
_encode: Final = msgspec.json.Encoder().encode


class Formats:
    """The formats of one locale and time zone."""

    def __init__(self, locale: Locale, time_zone: tzinfo) -> None:
        self._locale = locale
        #: A key for caches: the hash of a `Locale` takes as long as formatting a number.
        self._locale_id = str(locale)
        self._time_zone = time_zone

    def number(self, value: Any) -> str:
        """``1234.5`` → ``1,234.5``, with at most 3 decimals."""
        number = _decimal(value)
        return as_text(value) if number is None else _number_format(self._locale_id, None)(number)

    def money(self, value: Any, currency: str = "") -> str:
        """``12.5``, EUR → ``€12.50``. Without an ISO 4217 code: the number with two decimals."""
        number = _decimal(value)
        if number is None:
            return as_text(value)
        known = currency if isinstance(currency, str) and _CURRENCY.match(currency) else ""
        return _number_format(self._locale_id, known)(number)

    def date(self, value: Any, style: Style = "medium") -> str:
        """A day, as ``2026-03-01``, or that of an RFC 3339 time in the person's time zone."""
        at = _day(value) or self._local(value)
        return as_text(value) if at is None else format_date(at, style, locale=self._locale)

    def time(self, value: Any, style: Style = "short") -> str:
        """A day has no time: it is shown as it is."""
        at = None if _day(value) is not None else self._local(value)
        return as_text(value) if at is None else format_time(at, style, tzinfo=self._time_zone, locale=self._locale)

    def date_and_time(self, value: Any, style: Style = "medium") -> str:
        """Of a day: the day alone."""
        if (day := _day(value)) is not None:
            return format_date(day, style, locale=self._locale)
        at = self._local(value)
        return as_text(value) if at is None else format_datetime(at, style, tzinfo=self._time_zone, locale=self._locale)

    def plural(self, value: Any, other: str, **forms: str) -> str:
        """The form for a number: `zero`, `one`, `two`, `few`, `many` or `other`. ``#`` in it becomes the number."""
        number = _decimal(value)
        # `#` has no decimals for 1.0: it is 1, also in the choice of the form.
        form = other if number is None else forms.get(self._locale.plural_form(_without_zeros(number)), other)
        return form.replace("#", self.number(value))

    def _local(self, value: Any) -> datetime | None:
        if not isinstance(value, str) or len(value) > _MAX_TIME:
            return None
        try:
            at = datetime.fromisoformat(value)
            return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).astimezone(self._time_zone)
        except (ValueError, OverflowError):
            return None


@lru_cache(_CACHED)
def _number_format(locale_id: str, currency: str | None) -> Callable[[Decimal], str]:
    """How a locale writes amounts of a currency (``""``: two decimals without one), or numbers (None)."""
    locale = Locale.parse(locale_id)
    if currency is None:
        pattern, decimals = partial(format_decimal, locale=locale), _NUMBER_DECIMALS
    elif currency:
        pattern, decimals = partial(format_currency, currency=currency, locale=locale), get_currency_precision(currency)
    else:
        pattern, decimals = partial(format_decimal, format="#,##0.00", locale=locale), 2
    found = fixed_format(pattern, decimals, strip=currency is None)
    return pattern if found is None else found


@lru_cache(_CACHED)
def formats_for(locale: str, text_locale: str, time_zone: str) -> Formats:
    """The formats for a person.

    Args:
        locale: the person's. It counts if it has the language of the text: ``en-GB`` for a text in ``en``.
        text_locale: that of the template.
        time_zone: an IANA name; an unknown one is UTC.
    """
    own, text = babel_locale(locale), babel_locale(text_locale)
    chosen = own if own is not None and (text is None or own.language == text.language) else text
    return Formats(chosen or Locale("en"), _zone(time_zone))


def fixed_format(
    pattern: Callable[[Decimal], str], decimals: int, *, strip: bool = False
) -> Callable[[Decimal], str] | None:
    """The same as `pattern` in a tenth of its time: Babel evaluates its pattern for each number.

    Affixes and separators are read off two formatted numbers. None: the locale groups digits otherwise than by three, or has other digits.

    Args:
        strip: without zeros at the end of the decimals.
    """
    probe = Decimal(_PROBE).quantize(Decimal(1).scaleb(-decimals))
    plain = f"{probe:,.{decimals}f}"
    affixes: list[tuple[str, str]] = []
    separators: dict[int, str] = {}
    for number in (probe, -probe):
        written = pattern(number)
        begin, end = written.find("1"), written.rfind("1") + 1
        middle = written[begin:end]
        if len(middle) != len(plain):
            return None
        separators |= {ord(ours): theirs for ours, theirs in zip(plain, middle, strict=True) if not ours.isdigit()}
        if plain.translate(separators) != middle:
            return None
        affixes.append((written[:begin], written[end:]))
    (before, after), (before_negative, after_negative) = affixes

    def formatted(number: Decimal) -> str:
        text = f"{abs(number):,.{decimals}f}"
        if strip and decimals:
            text = text.rstrip("0").rstrip(".")
        text = text.translate(separators)
        return f"{before_negative}{text}{after_negative}" if number.is_signed() else f"{before}{text}{after}"

    return formatted


def babel_locale(tag: str) -> Locale | None:
    """The locale of a BCP 47 tag; None if CLDR does not have it."""
    try:
        return Locale.parse(tag.replace("_", "-"), sep="-")
    except (UnknownLocaleError, ValueError, TypeError):
        return None


def isolate(value: Any) -> str:
    """A value whose direction is not known, so that it does not reorder the text around it."""
    return _ISOLATE.format(as_text(value))


def as_text(value: Any) -> str:
    """A value of the data as it is: text, or else JSON."""
    return value if isinstance(value, str) else _encode(value).decode()


def _day(value: Any) -> date | None:
    """A date without a time. It belongs to no time zone."""
    if not isinstance(value, str) or len(value) != _DAY:
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None


def _without_zeros(number: Decimal) -> Decimal:
    whole = number.to_integral_value()
    return whole if whole == number else number.normalize()


def _decimal(value: Any) -> Decimal | None:
    match value:
        case str():
            return Decimal(value) if _NUMBER.match(value) else None
        case bool():
            return None
        case int():
            return Decimal(value) if abs(value) < _MAX_NUMBER else None
        case float():
            return Decimal(repr(value)) if abs(value) < _MAX_NUMBER else None
    return None


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC
