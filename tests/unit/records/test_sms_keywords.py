"""Words by SMS: what is meant, however it is typed, and what is no word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.records.sms_keywords import Keyword, keyword_of

STOP = [
    *("STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPT OUT"),
    *("OPT-OUT", "REMOVE", "ARRET", "ARRÊT", "TD", "STOPP", "ABMELDEN"),
]
MEANT = {
    **dict.fromkeys(STOP, Keyword.STOP),
    **dict.fromkeys(["START", "YES", "UNSTOP"], Keyword.START),
    **dict.fromkeys(["HELP", "INFO"], Keyword.HELP),
}
AROUND = ["{}", " {} ", "{}.", "{}!!", '"{}"', "\n{}\r\n", "({})", "{} \U0001f6d1", "\u200b{}\ufeff", "-{}-"]


@pytest.mark.parametrize("word", MEANT)
def test_a_word_is_known_in_any_case_with_anything_around_it(word: str) -> None:
    for text in (word, word.lower(), word.title(), word.swapcase()):
        for around in AROUND:
            assert keyword_of(around.format(text)) is MEANT[word], around.format(text)


def test_other_scripts_of_the_same_letters_and_blanks_within_a_word() -> None:
    assert keyword_of("\uff33\uff34\uff2f\uff30") is Keyword.STOP  # full width
    assert keyword_of("STOP ALL") is Keyword.STOP
    assert keyword_of("S.T.O.P.") is Keyword.STOP


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "...",
        "please do not stop",
        "stop it",
        "stops",
        "bus stop",
        "yes please",
        "start 2",
        "helpful",
        "1",
        "S" * 200,
    ],
)
def test_other_texts_are_no_word(text: str) -> None:
    assert keyword_of(text) is None


def test_a_word_in_a_long_text_is_none() -> None:
    assert keyword_of("STOP" + " " * 156) is Keyword.STOP
    assert keyword_of("STOP" + " " * 157) is None


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    assert keyword_of(text) in (None, *Keyword)
