"""The links in a mail's text: whose they are, which mails have them, that no other message costs a token."""

from __future__ import annotations

import re
from typing import Any

import pytest
from cryptography.fernet import Fernet

from notify_streams.delivery.mail_links import MailLinks
from notify_streams.delivery.rendering import data_of, text_of
from notify_streams.records.link_token import Link, LinkTokens
from notify_streams.roles import CHANNELS
from notify_streams.templates.catalog import Text
from tests.builders import a_message, categories, templates

TEMPLATES = templates()
URL = "https://eu.example.org"


class CountedTokens(LinkTokens):
    """Counts the tokens that it makes."""

    made = 0

    def make(self, *of: str) -> str:
        self.made += 1
        return super().make(*of)


@pytest.fixture
def tokens() -> CountedTokens:
    return CountedTokens([Fernet.generate_key().decode()])


def mail(tokens: LinkTokens | None, **but: Any) -> tuple[Text, str | None]:
    """Its text, and the link in its header."""
    message = a_message(**{"channel": "email", "category": "marketing", "template": "offer"} | but)
    links = None if tokens is None else MailLinks(tokens, f"{URL}/", categories())
    unsubscribe = None if links is None else links.unsubscribe(message)
    return text_of(message, categories(), TEMPLATES, data_of(message), links, unsubscribe), unsubscribe


def links_in(text: Text) -> list[str]:
    assert text.html is not None
    linked = re.findall('href="([^"]*)"', text.html)
    assert linked == re.findall(r"https://\S+", text.body)
    return linked


@pytest.mark.parametrize("locale", ["en", "de", "ar"])
def test_a_mail_has_the_page_of_its_person_and_the_link_of_its_header(tokens: CountedTokens, locale: str) -> None:
    text, unsubscribe = mail(tokens, locale=locale, data={"offer": "tea"})
    page, other = links_in(text)
    assert page.startswith(f"{URL}/preferences/")
    assert tokens.read(page.rpartition("/")[2]) == Link("u-42", "*", "*", locale)
    assert other == unsubscribe
    assert tokens.made == 2


def test_a_mail_that_cannot_be_turned_off_has_the_page_alone(tokens: CountedTokens) -> None:
    text, _ = mail(tokens, category="security", template="new_device", data={"device": "phone"})
    (page,) = links_in(text)
    assert "/preferences/" in page


def test_without_links_there_is_no_footer_whatever_the_sender_gives() -> None:
    forged = {"preferences_url": "https://evil.example", "unsubscribe_url": "https://evil.example"}
    text, _ = mail(None, data={"offer": "tea"} | forged)
    assert links_in(text) == []
    assert text.html is not None and "Choose what you get" not in text.html + text.body


def test_a_senders_link_is_not_used(tokens: CountedTokens) -> None:
    text, _ = mail(tokens, data={"offer": "tea", "preferences_url": "https://evil.example"})
    assert all(link.startswith(URL) for link in links_in(text))


def test_only_mails_cost_a_token(tokens: CountedTokens) -> None:
    for channel in CHANNELS:
        links = MailLinks(tokens, URL, categories())
        message = a_message(channel=channel, data={"amount": 1})
        text_of(message, categories(), TEMPLATES, data_of(message), links)
        assert tokens.made == (channel == "email")
