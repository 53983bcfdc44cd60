"""An address is never shown whole where an error is looked for."""

import pytest

from notify_streams.records.devices import token_sha
from notify_streams.records.masks import masked, shown_mask

MASKS = {
    "+15550100242": ("sms", "+1•••42"),
    "+1234": ("sms", "•••"),
    "ada@example.org": ("email", "a•••@example.org"),
    "a@example.org": ("email", "•••@example.org"),
    "*a@example.org": ("email", "•••*@example.org"),
    "a@b@example.org": ("email", "a•••@example.org"),
}


@pytest.mark.parametrize(("address", "shown"), MASKS.items(), ids=MASKS)
def test_what_is_shown(address: str, shown: tuple[str, str]) -> None:
    channel, mask = shown
    assert shown_mask(masked(channel, address)) == mask
    assert address not in masked(channel, address)


def test_a_token_is_named_by_the_beginning_of_its_hash() -> None:
    assert shown_mask(masked("push", "a-token")) == token_sha("a-token")
