"""The contacts of the demo's users are valid; some have a device of each push provider."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from devtools.demo.sample_users import sample_users, signup_records
from devtools.sandbox.web_push import Browser, endpoint
from notify_streams.records.user_records import Contacts, read_contacts

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BROWSER = Browser(generate_private_key(SECP256R1()))


def subscription(name: str) -> str:
    return BROWSER.subscription(endpoint(40_000, name))


def contacts(of: Callable[[str], str] | None, count: int = 200) -> Iterator[Contacts]:
    for number, user in enumerate(sample_users(count, ["us"], 1)):
        (_, _, value, _), _ = signup_records(user, number, NOW, subscription=of)
        found = read_contacts(value, int(NOW.timestamp() * 1000))
        assert isinstance(found, Contacts), found
        yield found


def test_each_tenth_user_with_push_has_a_device_of_each_provider() -> None:
    found = list(contacts(subscription))
    with_devices = [one for one in found if one.devices is not None]
    assert 15 <= len(with_devices) <= 20
    assert {tuple(device.provider for device in one.devices or ()) for one in with_devices} == {
        ("fcm", "apns", "web_push")
    }
    assert not any(one.push for one in with_devices)
    assert sum(one.push is not None for one in found) > 150


def test_without_a_sandbox_a_user_has_one_device() -> None:
    assert all(one.devices is None for one in contacts(None))
