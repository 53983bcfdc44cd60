"""The pages of a person and of the dead letters."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest

from notify_streams.web.pages.rendering import Frame, render
from tests.unit.web.sample_pages import a_user, dead_letters
from tests.unit.web.test_pages import HOSTILE


def words(html: str) -> str:
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html)))


def user_page(rights: tuple[str, ...] = ("read",), done: str | None = None, **but: Any) -> str:
    return render("user.html", Frame("us", "/users/ann", rights), user=a_user(**but), done=done)


def dead_letter_page(*, with_values: bool = False, **but: Any) -> str:
    return render("dead_letters.html", Frame("us", "/dead-letters"), found=dead_letters(**but), with_values=with_values)


def test_a_person_is_shown_with_contacts_and_choices() -> None:
    page = words(user_page())
    assert "ann@example.org" in page and "+4915112345678" in page
    assert "…9f3c" in page and "0badcafe" not in page
    assert re.search(r"push – not sent chose “out”", page) and "sms ✓ sent no choice; the default is “always”" in page


def test_choices_have_buttons_only_for_a_session_that_may_write() -> None:
    assert "/preferences/" not in user_page()
    page = user_page(("read", "write"))
    assert re.findall(r'action="(/users/[^"]*)"', page) == ["/users/ann/preferences/marketing/push"]
    assert 'name="opted_in" value="true"' in page  # what is always sent cannot be stopped


def test_a_person_with_an_odd_id_has_links_that_lead_to_it() -> None:
    page = user_page(("read", "write"), user_id="a/b?c#d ü")
    assert "/users/a%2Fb%3Fc%23d%20%C3%BC/preferences/marketing/push" in page


@pytest.mark.parametrize("but", [{}, {"see": "region eu serves this user"}], ids=["here", "served elsewhere"])
def test_a_person_has_a_link_to_the_messages_to_them(but: dict[str, Any]) -> None:
    assert 'href="/notifications?user=ann"' in user_page(**but)
    assert 'href="/notifications?user=a%2Fb%3Fc%23d+%C3%BC%26limit%3D9"' in user_page(
        user_id="a/b?c#d ü&limit=9", **but
    )


def test_a_person_of_another_region_or_without_contacts() -> None:
    page = words(user_page(see="region eu serves this user and has the contacts and preferences"))
    assert "Region eu serves this user" in page and "Contacts" not in page
    assert "None were ever sent for this person" in words(user_page(contacts=None))
    assert "the registry does not respond" in words(user_page(home={"region": "us"}))


def test_what_a_button_did_is_said() -> None:
    assert 'role="status">The choice is stored' in user_page(done="The choice is stored and applies now.")


def test_dead_letters_are_counted_and_shown() -> None:
    page = words(dead_letter_page())
    assert "1,204 dead letters" in page and page.index("1,200") < page.index("expired")
    assert "dead_letters-3@41" in page and "triggers.payments-3@88" in page and "1,812 bytes" in page
    assert "some may be missing" not in page and "some may be missing" in words(dead_letter_page(complete=False))
    assert "There is none." in words(dead_letter_page(newest=[], reasons={}, dead=0))


def test_hostile_records_are_escaped() -> None:
    letter = dead_letters()["newest"][0]
    hostile = dict.fromkeys(("key", "reason", "detail", "topic", "value", "place"), HOSTILE)
    page = dead_letter_page(newest=[letter | hostile | {"headers": [(HOSTILE, HOSTILE)]}], reasons={HOSTILE: 1})
    assert page.count("&lt;img") >= 8 and "<img" not in page
    contacts = a_user()["contacts"]
    device = contacts["devices"][0] | dict.fromkeys(("provider", "app", "locale", "last_seen", "token_end"), HOSTILE)
    page = user_page(user_id=HOSTILE, contacts=contacts | {"email": HOSTILE, "sms": HOSTILE, "devices": [device]})
    assert page.count("&lt;img") >= 8 and "<img" not in page
