"""What the preference page shows, and which choices a sent form changes."""

from urllib.parse import parse_qs

import pytest

from notify_streams.preferences.row_codec import encode_row
from notify_streams.public.pages.texts import TEXTS
from notify_streams.public.preference_form import changes_of, sections_of
from tests.builders import categories

CATEGORIES = categories()


def shown(row: bytes, locale: str = "en") -> dict[str, dict[str, str]]:
    return {
        section.title.text: {
            line.channel: "always" if line.is_fixed else "on" if line.sends else "off" for line in section.lines
        }
        for section in sections_of(CATEGORIES, row, TEXTS[locale])
    }


def test_without_a_choice_the_defaults_are_shown() -> None:
    assert shown(encode_row(0, {})) == {
        "Payments": {"push": "on", "email": "on", "sms": "off"},
        "Offers": {"push": "on", "email": "off"},
        "Security": {"push": "always", "sms": "on", "email": "always"},
    }


def test_choices_are_shown_and_what_is_always_sent_stays_so() -> None:
    row = encode_row(3, {1: {"push": False, "sms": True}, 3: {"email": False, "sms": False}})
    assert shown(row, "de") == {
        "Zahlungen": {"push": "off", "email": "on", "sms": "on"},
        "Angebote": {"push": "on", "email": "off"},
        "Sicherheit": {"push": "always", "sms": "off", "email": "always"},
    }


EVERYTHING_OFF = [
    ("payments", "push", False),
    ("payments", "email", False),
    ("payments", "sms", False),
    ("marketing", "push", False),
    ("marketing", "email", False),
    ("security", "sms", False),
]
FORMS = [
    pytest.param("was=1.push&on=1.push", [], id="nothing changed"),
    pytest.param("was=1.push", [("payments", "push", False)], id="a tick removed"),
    pytest.param("on=1.sms", [("payments", "sms", True)], id="a tick set"),
    pytest.param(
        "was=2.push&was=3.sms&on=2.email&action=save",
        [("marketing", "push", False), ("marketing", "email", True), ("security", "sms", False)],
        id="several",
    ),
    pytest.param("action=stop_all&on=1.sms", EVERYTHING_OFF, id="stop all, whatever else the form has"),
    pytest.param("was=3.email&was=3.push", [], id="what cannot be turned off"),
    pytest.param("on=9.push&on=1.fax&on=&on=*.*&was=241.email", [], id="what does not exist"),
    pytest.param("", [], id="an empty form"),
]


@pytest.mark.parametrize(("form", "expected"), FORMS)
def test_only_what_the_person_changed_is_stored(form: str, expected: list[object]) -> None:
    assert changes_of(CATEGORIES, parse_qs(form)) == expected
