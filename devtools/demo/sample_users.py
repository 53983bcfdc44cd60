"""Generated users with contacts and choices. The same seed gives the same users.

Their contacts are reserved for examples: example.org (RFC 2606) and 555 numbers.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams.records.devices import Device
from notify_streams.records.user_records import Contacts, PreferenceUpdate, Signup
from notify_streams.roles import CHANNELS
from notify_streams.topics import PREFERENCE_UPDATES, USER_CONTACTS, USER_SIGNUPS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from notify_streams.admin.trigger_producer import Upload
    from notify_streams.preferences.categories import Categories

_FIRST: Final = ("Ada", "Ben", "Chi", "Dora", "Emre", "Fatou", "Goro", "Hana", "Ines", "Jun", "Kofi", "Lena", "Mei")
_LAST: Final = ("Abe", "Berg", "Costa", "Diaz", "Eto", "Frey", "Gupta", "Holm", "Ito", "Khan", "Lind", "Mori", "Novak")
_LOCALES: Final = {
    "us": (("en-US", "America/New_York"), ("en-US", "America/Los_Angeles"), ("es-US", "America/Chicago")),
    "eu": (("de-DE", "Europe/Berlin"), ("fr-FR", "Europe/Paris"), ("pt-PT", "Europe/Lisbon")),
    "asia": (("ja-JP", "Asia/Tokyo"), ("en-IN", "Asia/Kolkata"), ("ko-KR", "Asia/Seoul")),
}
_OTHER_LOCALES: Final = (("en", "UTC"),)
#: One user in so many has a device of each push provider.
_WITH_ALL_DEVICES: Final = 10
_encode = msgspec.json.Encoder().encode


class SampleUser(msgspec.Struct, frozen=True):
    user_id: str
    name: str
    #: The home region.
    region: str
    locale: str
    time_zone: str


def sample_users(count: int, regions: Sequence[str], seed: int) -> list[SampleUser]:
    """`count` users, spread evenly over the regions."""
    draw = random.Random(f"people-{seed}")
    users = []
    for number in range(count):
        region = regions[number % len(regions)]
        locale, time_zone = draw.choice(_LOCALES.get(region, _OTHER_LOCALES))
        name = f"{draw.choice(_FIRST)} {draw.choice(_LAST)}"
        users.append(SampleUser(f"u-{seed}-{number:06d}", name, region, locale, time_zone))
    return users


def signup_records(
    user: SampleUser,
    number: int,
    now: datetime,
    channels: Collection[str] = CHANNELS,
    subscription: Callable[[str], str] | None = None,
) -> Iterator[Upload]:
    """The contacts and the sign-up of a user. Contacts come first, and only for `channels`; some users lack a channel.

    `subscription` gives the Web Push subscription of a user; without it a user has at most one device.
    """
    draw = random.Random(f"contacts-{user.user_id}")
    has_push, has_sms, has_email = draw.random() < 0.92, draw.random() < 0.7, draw.random() < 0.85
    email = f"{user.name.replace(' ', '.').lower()}.{number}@example.org"
    token = f"token-{user.user_id}" if has_push and "push" in channels else None
    devices = None
    if token is not None and subscription is not None and number % _WITH_ALL_DEVICES == 0:
        devices = (
            Device(token, "fcm"),
            Device(sha256(user.user_id.encode()).hexdigest(), "apns"),
            Device(subscription(user.user_id), "web_push"),
        )
    contacts = Contacts(
        user.user_id,
        now,
        token if devices is None else None,
        f"+1555{number % 10_000_000:07d}" if has_sms and "sms" in channels else None,
        email if has_email and "email" in channels else None,
        user.locale,
        user.time_zone,
        devices=devices,
    )
    signup = Signup(user.user_id, user.region, datetime(2026, 1, 1, tzinfo=UTC), 1, user.locale, user.time_zone)
    yield USER_CONTACTS, user.user_id, _encode(contacts), ()
    yield USER_SIGNUPS, user.user_id, _encode(signup), ()


def choice_records(user: SampleUser, categories: Categories, now: datetime) -> Iterator[Upload]:
    """The choices of a user, for about one in seven categories and channels."""
    draw = random.Random(f"choices-{user.user_id}")
    for name, category in categories.items():
        for channel in category.channels:
            if draw.random() < 0.15:
                update = PreferenceUpdate(user.user_id, name, channel, draw.random() < 0.4, now)
                yield PREFERENCE_UPDATES, user.user_id, _encode(update), ()
