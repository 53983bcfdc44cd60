"""Which words a person gets, and that no locale lacks one."""

import msgspec
import pytest

from notify_streams.public.pages.texts import TEXTS, texts_for
from notify_streams.roles import CHANNELS
from tests.builders import templates

CASES = [
    pytest.param("ar", "de", "en", "ar", id="what was clicked wins"),
    pytest.param(None, "de-CH", "en", "de", id="the language of the person's locale"),
    pytest.param(None, "de_AT", "en", "de", id="with an underscore"),
    pytest.param("xx", "DE", "", "de", id="a language that the page does not have"),
    pytest.param(None, "pt-BR", "fr, ar;q=0.5, de;q=0.8", "de", id="the browser's, by weight"),
    pytest.param(None, None, "de;q=0, ar;q=0.1", "ar", id="not what the browser excludes"),
    pytest.param(None, None, "de;q=many, ar;q=0.1", "ar", id="a weight that is none"),
    pytest.param(None, None, "*", "en", id="any"),
    pytest.param(None, None, "", "en", id="nothing known"),
    pytest.param(None, None, "fr," * 10_000 + "de", "en", id="a long header is not read to its end"),
]


@pytest.mark.parametrize(("chosen", "of_link", "accepted", "locale"), CASES)
def test_the_words_follow_the_choice_then_the_person_then_the_browser(
    chosen: str | None, of_link: str | None, accepted: str, locale: str
) -> None:
    assert texts_for(chosen, of_link, accepted).locale == locale


def test_the_page_has_the_locales_of_the_templates() -> None:
    assert set(TEXTS) == set(templates().locales("offer"))


@pytest.mark.parametrize("texts", TEXTS.values(), ids=TEXTS)
def test_no_locale_lacks_a_word_or_has_the_words_of_another(texts: object) -> None:
    words = msgspec.to_builtins(texts)
    assert tuple(words["channels"]) == CHANNELS
    english = msgspec.to_builtins(TEXTS["en"])
    for field, word in words.items():
        assert word, field
        assert words["locale"] == "en" or field == "direction" or word != english[field], field
