"""An address is known by a keyed hash: the same for each way to write it, another with each key."""

import pytest

from notify_streams.records.address_ids import address_id, is_address_id

KEY = b"k" * 32


def test_an_id_holds_nothing_of_the_address() -> None:
    found = address_id(KEY, "sms", "+15550100200")
    assert found.startswith("address:sms:") and len(found) == len("address:sms:") + 32
    assert "555" not in found.removeprefix("address:sms:") or found != address_id(KEY, "sms", "+15550100201")
    assert is_address_id(found) and not is_address_id("u-1")


@pytest.mark.parametrize(
    "written",
    ["ann@example.org", "Ann@Example.ORG", " ann@example.org ", "ANN@EXAMPLE.ORG"],
)
def test_a_mail_address_has_one_id_however_it_is_written(written: str) -> None:
    assert address_id(KEY, "email", written) == address_id(KEY, "email", "ann@example.org")


def test_an_international_domain_has_the_id_of_its_ascii_form() -> None:
    assert address_id(KEY, "email", "ann@bücher.example") == address_id(KEY, "email", "ann@xn--bcher-kva.example")


def test_key_channel_and_address_each_change_the_id() -> None:
    ids = [
        address_id(KEY, "sms", "+15550100200"),
        address_id(KEY, "sms", "+15550100201"),
        address_id(KEY, "email", "+15550100200"),
        address_id(b"other" * 8, "sms", "+15550100200"),
    ]
    assert len(set(ids)) == 4
    assert address_id(KEY, "email", "\ud800@\udfff")  # what is no address has an id, too
