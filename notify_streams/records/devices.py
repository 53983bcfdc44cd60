"""A person's devices: push addresses, each with its provider."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

from notify_streams.records.addresses import is_push_token
from notify_streams.records.push_subscription import push_subscription

if TYPE_CHECKING:
    from collections.abc import Sequence

PushProvider = Literal["fcm", "apns", "web_push"]
#: A message is sent to each, so a person has at most so many.
MAX_DEVICES: Final = 10
_MAX_APP: Final = 128
#: A bundle id or package name.
_APP: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Device(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One push address."""

    #: As `push` of `Contacts`; appears in no log, metric or attempt.
    token: str
    #: None: the `push_provider` of the region that serves the person.
    provider: PushProvider | None = None
    #: The bundle id or package name of the app; of APNs the topic, instead of that of the settings.
    app: str | None = None
    #: Of the texts for this device; None: the person's.
    locale: str | None = None
    #: When the app last reported the token.
    last_seen: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


#: In the order in which they were given.
Devices = tuple[Device, ...]
#: Of a row or message: no devices are None.
SomeDevices = Annotated[Devices, msgspec.Meta(min_length=1)]


def checked_devices(devices: Devices, at: datetime, is_locale: re.Pattern[str]) -> Devices | str:
    """The devices of a record of the time `at`, no one seen after it; or what is wrong with them."""
    if len(devices) > MAX_DEVICES:
        return f"`devices` has {len(devices)}, the limit is {MAX_DEVICES}"
    if len({device.token for device in devices}) < len(devices):
        return "`devices` has a token twice"
    if fault := next((fault for device in devices if (fault := _fault(device, is_locale)) is not None), None):
        return fault
    return tuple(_normalized(device, at) for device in devices)


def stored_devices(devices: Sequence[Any]) -> Devices:
    """What was stored, without devices that only a later release can read, such as those of another provider: nothing here can call them."""
    found = []
    for device in devices:
        try:
            found.append(msgspec.convert(device, Device))
        except msgspec.ValidationError:
            continue
    return tuple(found)


def only_token(devices: Devices) -> str | None:
    """The token of a single device of which nothing else is known: it is stored and sent as `push`."""
    return devices[0].token if len(devices) == 1 and devices[0] == Device(devices[0].token) else None


def without_last_seen(devices: Devices) -> Devices:
    """What a delivery needs."""
    return tuple(
        device if device.last_seen is None else msgspec.structs.replace(device, last_seen=None) for device in devices
    )


def shown_devices(push: str | None, devices: Devices | None) -> list[dict[str, Any]]:
    """All devices without their tokens: ``{"token_sha", "token_end", "provider", "app", "locale", "last_seen"}``; what is unknown is null."""
    found = devices or (() if push is None else (Device(push),))
    return [
        {
            "token_sha": token_sha(device.token),
            "token_end": device.token[-4:] if len(device.token) > 8 else "",
            "provider": device.provider,
            "app": device.app,
            "locale": device.locale,
            "last_seen": None if device.last_seen is None else device.last_seen.isoformat(timespec="seconds"),
        }
        for device in found
    ]


def token_sha(token: str) -> str:
    """Names a device where its token must not appear: the first 8 hexadecimal digits of the token's SHA-256."""
    return hashlib.sha256(token.encode()).hexdigest()[:8]


def _fault(device: Device, is_locale: re.Pattern[str]) -> str | None:
    if not is_push_token(device.token):
        return "a `token` of `devices` is neither a token of 1 to 512 printable ASCII characters nor a Web Push subscription of at most 2,048"
    if device.provider is not None and (device.provider == "web_push") is not (
        push_subscription(device.token) is not None
    ):
        return "a `token` of `devices` is not one of its `provider`"
    if device.app and not (len(device.app) <= _MAX_APP and _APP.fullmatch(device.app)):
        return "an `app` of `devices` is not a bundle id or package name of 1 to 128 characters"
    if device.locale and not is_locale.match(device.locale):
        return "a `locale` of `devices` is not a BCP 47 tag"
    if device.last_seen is not None and device.last_seen < _EPOCH:
        return "a `last_seen` of `devices` is before 1970"
    return None


def _normalized(device: Device, at: datetime) -> Device:
    seen = device.last_seen
    return Device(
        device.token,
        device.provider,
        device.app or None,
        device.locale or None,
        None if seen is None else min(seen, at).astimezone(UTC),
    )
