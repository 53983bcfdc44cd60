"""Generated people: the same seed gives the same ones. Contacts lie in ranges that belong to nobody (RFC 2606, 555 numbers)."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams.records.user_records import Contacts, PreferenceUpdate, Signup
from notify_streams.roles import CHANNELS
from notify_streams.topics import PREFERENCE_UPDATES, USER_CONTACTS, USER_SIGNUPS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from notify_streams.admin.trigger_producer import Upload
    from notify_streams.preferences.categories import Categories

_FIRST: Final = (
    "Ada",
    "Ben",
    "Chi",
    "Dora",
    "Emre",
    "Fatou",
    "Goro",
    "Hana",
    "Ines",
    "Jun",
    "Kofi",
    "Lena",
    "Mei",
    "Nils",
    "Omar",
    "Pia",
)
_LAST: Final = (
    "Abe",
    "Berg",
    "Costa",
    "Diaz",
    "Eto",
    "Frey",
    "Gupta",
    "Holm",
    "Ito",
    "Jung",
    "Khan",
    "Lind",
    "Mori",
    "Novak",
    "Okoro",
    "Park",
)
_PLACES: Final = {
    "us": (("en-US", "America/New_York"), ("en-US", "America/Los_Angeles"), ("es-US", "America/Chicago")),
    "eu": (("de-DE", "Europe/Berlin"), ("fr-FR", "Europe/Paris"), ("pt-PT", "Europe/Lisbon")),
    "asia": (("ja-JP", "Asia/Tokyo"), ("en-IN", "Asia/Kolkata"), ("ko-KR", "Asia/Seoul")),
}
_ELSEWHERE: Final = (("en", "UTC"),)
_encode = msgspec.json.Encoder().encode


class SampleUser(msgspec.Struct, frozen=True):
    """Somebody at home in `region`."""

    user_id: str
    name: str
    region: str
    locale: str
    time_zone: str


def sample_users(count: int, regions: Sequence[str], seed: int) -> list[SampleUser]:
    """`count` people, spread over the regions."""
    draw = random.Random(f"people-{seed}")
    found = []
    for number in range(count):
        region = regions[number % len(regions)]
        locale, time_zone = draw.choice(_PLACES.get(region, _ELSEWHERE))
        name = f"{draw.choice(_FIRST)} {draw.choice(_LAST)}"
        found.append(SampleUser(f"u-{seed}-{number:06d}", name, region, locale, time_zone))
    return found


def signup_records(
    person: SampleUser, number: int, now: datetime, channels: Collection[str] = CHANNELS
) -> Iterator[Upload]:
    """What upstream systems push when this person signs up: contacts first, so that a first trigger finds them. Only for `channels`."""
    draw = random.Random(f"contacts-{person.user_id}")
    contacts = Contacts(
        person.user_id,
        now,
        f"token-{person.user_id}" if draw.random() < 0.92 and "push" in channels else None,
        f"+1555{number % 10_000_000:07d}" if draw.random() < 0.7 and "sms" in channels else None,
        f"{person.name.replace(' ', '.').lower()}.{number}@example.org"
        if draw.random() < 0.85 and "email" in channels
        else None,
    )
    signup = Signup(person.user_id, person.region, datetime(2026, 1, 1, tzinfo=UTC), 1, person.locale, person.time_zone)
    yield USER_CONTACTS, person.user_id, _encode(contacts), ()
    yield USER_SIGNUPS, person.user_id, _encode(signup), ()


def choice_records(person: SampleUser, categories: Categories, now: datetime) -> Iterator[Upload]:
    """The choices that this person makes: none for half of them, some for the others."""
    draw = random.Random(f"choices-{person.user_id}")
    for name, category in categories.items():
        for channel in category.channels:
            if draw.random() < 0.15:
                update = PreferenceUpdate(person.user_id, name, channel, draw.random() < 0.4, now)
                yield PREFERENCE_UPDATES, person.user_id, _encode(update), ()
