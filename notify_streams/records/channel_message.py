"""Channel messages: one delivery each, from the outbox to a channel worker."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from notify_streams.records.devices import Devices, SomeDevices
from notify_streams.records.trigger import NO_DATA
from notify_streams.roles import Channel

Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class ChannelMessage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One delivery. `to` is the contact; empty with `devices`. Either `template` with `data`, or `title` and `body`, is set."""

    delivery_id: str
    channel: Channel
    to: str
    notification_id: str
    trigger_id: str
    user_id: str
    category: str
    decided_at: Instant
    critical: bool = False
    preference_version: int = 0
    template: str | None = None
    data: msgspec.Raw = NO_DATA
    title: str | None = None
    body: str | None = None
    expires_at: Instant | None = None
    collapse_key: str | None = None
    test: bool = False
    #: The trigger's topic and offset, in the partition of this message.
    source_topic: str = ""
    source_offset: int = -1
    #: When the trigger entered the system: milliseconds since the epoch, by Kafka's clock.
    origin_ms: int = 0
    #: The person's, from the contacts; None: `user_records.DEFAULT_LOCALE`, `DEFAULT_TIME_ZONE`.
    locale: str | None = None
    time_zone: str | None = None
    #: The push addresses to call, of a person who has more than one token; None: `to`.
    devices: SomeDevices | None = None
    #: Of a timer: an earlier attempt reached another device of the person, so the delivery ends as sent.
    reached: bool = False
    #: The upstream system of a forwarded trigger; empty: that of `source_topic`.
    system: str = ""
    #: The span of the outbox, by the rules of W3C Trace Context; empty: the trigger is not traced.
    traceparent: str = ""


class SharedPart(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The fields of a `ChannelMessage` that are the same for all channels of a notification: encoded once."""

    notification_id: str
    trigger_id: str
    user_id: str
    category: str
    decided_at: Instant
    critical: bool = False
    preference_version: int = 0
    template: str | None = None
    data: msgspec.Raw = NO_DATA
    title: str | None = None
    body: str | None = None
    expires_at: Instant | None = None
    collapse_key: str | None = None
    test: bool = False
    source_topic: str = ""
    source_offset: int = -1
    origin_ms: int = 0
    locale: str | None = None
    time_zone: str | None = None
    system: str = ""
    traceparent: str = ""


_encode = msgspec.json.Encoder().encode
read_channel_message = msgspec.json.Decoder(ChannelMessage).decode


def encode_shared(part: SharedPart) -> bytes:
    """The common part of every channel's message, for `encode_for`."""
    return _encode(part)[1:]


def encode_for(shared: bytes, delivery_id: str, channel: Channel, to: str) -> bytes:
    """The message of one channel: `ChannelMessage` as JSON."""
    return b'{"delivery_id":%b,"channel":"%b","to":%b,%b' % (
        _encode(delivery_id),
        channel.encode(),
        _encode(to),
        shared,
    )


def encode_for_devices(shared: bytes, delivery_id: str, devices: Devices) -> bytes:
    """The message of the channel push for these devices."""
    return b'{"delivery_id":%b,"channel":"push","to":"","devices":%b,%b' % (
        _encode(delivery_id),
        _encode(devices),
        shared,
    )


def for_devices(message: ChannelMessage, devices: Devices, *, reached: bool) -> bytes:
    """The same message for these of its devices, encoded. `reached`: whether another one has it."""
    return _encode(msgspec.structs.replace(message, devices=devices, reached=message.reached or reached))
