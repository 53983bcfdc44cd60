"""The row that routers get of stored contacts."""

from notify_streams.records.user_records import ContactRow, decode_contact_row
from notify_streams.registry.contact_repository import StoredContacts
from tests.builders import contacts


def test_a_row_has_the_addresses_and_how_the_person_reads() -> None:
    stored = StoredContacts(contacts(email=None, locale="ar-EG", time_zone="Africa/Cairo"), 3)
    expected = ContactRow(3, "token-u-42", "+15551234567", None, "ar-EG", "Africa/Cairo")
    assert decode_contact_row(stored.row()) == expected


def test_what_is_not_known_takes_no_room_in_the_row() -> None:
    assert StoredContacts(contacts(email=None, sms=None), 3).row() == b'{"version":3,"push":"token-u-42"}'
