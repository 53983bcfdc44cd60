"""Links in mails: only who has a key can make one, and each key that is still listed is accepted."""

import string

import pytest
from cryptography.fernet import Fernet
from hypothesis import given, settings
from hypothesis import strategies as st

from notify_streams.errors import SettingsError
from notify_streams.records.link_token import MAX_LENGTH, Link, LinkTokens
from notify_streams.records.user_records import ALL

OLD, NEW, FOREIGN = (Fernet.generate_key().decode() for _ in range(3))
TOKENS = LinkTokens([NEW, OLD])
TOKEN = TOKENS.make("u-1", "marketing", "email", "de")


def test_a_token_says_what_it_was_made_for_and_shows_nothing_of_it() -> None:
    assert TOKENS.read(TOKEN) == Link("u-1", "marketing", "email", "de")
    assert TOKENS.read(TOKENS.make("u-1", ALL, ALL, "ar")) == Link("u-1", ALL, ALL, "ar")
    assert TOKEN.replace("-", "").replace("_", "").isalnum()
    assert "marketing" not in TOKEN and TOKENS.make("u-1", "marketing", "email", "de") != TOKEN


def test_keys_are_replaced_without_breaking_the_links_of_old_mails() -> None:
    old = LinkTokens([OLD]).make("u-1", "marketing", "email", "de")
    assert TOKENS.read(old) == Link("u-1", "marketing", "email", "de")
    assert LinkTokens([OLD]).read(TOKEN) is None
    assert TOKENS.read(LinkTokens([FOREIGN]).make("u-1", "marketing", "email", "de")) is None


@given(at=st.integers(0, len(TOKEN) - 1), into=st.characters(max_codepoint=0x2FF))
@settings(max_examples=300)
def test_a_token_with_one_other_character_is_none(at: int, into: str) -> None:
    changed = TOKEN[:at] + into + TOKEN[at + 1 :]
    assert (TOKENS.read(changed) is not None) is (changed == TOKEN)
    assert TOKENS.read(TOKEN[:at] + into + TOKEN[at:]) is None
    assert TOKENS.read(TOKEN[:at]) is None


def test_only_one_text_is_the_token() -> None:
    """Decoders of base64 skip foreign characters, and ignore the last bits of some lengths."""
    for length in range(3):
        token = TOKENS.make("u" * (1 + 16 * length), "marketing", "email", "de")
        assert TOKENS.read(token) is not None
        assert TOKENS.read(f"{token[:10]}!!!!{token[10:]}") is None
        assert TOKENS.read(f"{token}=") is None
        for last in string.ascii_letters + string.digits + "-_":
            assert (TOKENS.read(token[:-1] + last) is not None) is (last == token[-1])


@given(st.text(max_size=200))
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert TOKENS.read(text) is None


def test_content_that_another_version_signed_is_none() -> None:
    for content in (b"", b"\x95", b"\x95\x02\xa1u\xa1c\xa1e\xa2de", b"\x94\x01\xa1u\xa1c\xa1e"):
        assert TOKENS.read(Fernet(NEW).encrypt(content).rstrip(b"=").decode()) is None
    assert TOKENS.read(Fernet(NEW).encrypt(b"\x95\x01\xa1u\xa1c\xa1e\xa2de").rstrip(b"=").decode())


def test_the_longest_names_fit_and_longer_tokens_are_not_read() -> None:
    longest = TOKENS.make("\U0001f600" * 128, "\U0001f600" * 128, "email", "a" * 35)
    assert len(longest) <= MAX_LENGTH and TOKENS.read(longest) is not None
    assert TOKENS.read("A" * 5_000_000) is None


@pytest.mark.parametrize("keys", [[], ["short"], [NEW, "x" * 20]], ids=["none", "short", "one of two"])
def test_keys_that_are_none_are_refused_with_a_remedy(keys: list[str]) -> None:
    with pytest.raises(SettingsError, match="create one with"):
        LinkTokens(keys)
