"""The delivery metadata arrives unchanged on every protocol, beside any data of the application."""

from __future__ import annotations

import time
from email import message_from_bytes
from email.header import decode_header, make_header
from typing import Any
from urllib.parse import urlencode

import msgspec
import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from devtools.sandbox import fcm as fcm_server
from devtools.sandbox import twilio as twilio_server
from devtools.sandbox.messages import IncomingMessage
from notify_streams.admin.audit.provider_log import AcceptedMessage
from notify_streams.delivery.providers.delivery_metadata import delivery_metadata
from notify_streams.delivery.providers.fcm import fcm_request
from notify_streams.delivery.providers.mime import mime_message
from notify_streams.delivery.providers.provider import Outgoing
from notify_streams.delivery.providers.twilio import twilio_form
from notify_streams.records.ids import delivery_id, notification_id
from notify_streams.records.names import is_reserved
from notify_streams.records.trigger import Trigger, read_trigger
from tests.builders import an_acceptance, trigger_json

texts = st.text(st.characters(codec="utf-8"), max_size=128)


def accepted_ids(trigger_id: str, user_id: str) -> tuple[str, str] | None:
    """The ids as the router reads them; None if it refuses them."""
    found = read_trigger(trigger_json(id=trigger_id, user_id=user_id), ())
    return (found.id or "", found.user_id) if isinstance(found, Trigger) else None


def outgoing(trigger_id: str, user_id: str, channel: str, to: str, **but: Any) -> Outgoing:
    notification = notification_id(trigger_id, user_id, "payments")
    return Outgoing(
        delivery_id=delivery_id(notification, channel),
        notification_id=notification,
        channel=channel,
        to=to,
        body="text",
        attempt=2,
        possible_duplicate=True,
        decided_at_ms=17,
        **but,
    )


@given(trigger_id=texts, user_id=texts)
@example("a  b", "u")
@example("x" * 63 + " y" * 32, "u")
@example("=?utf-8?q?x?=", "%00&=+")
@example("漢" * 128, "😀" * 128)
@example("a\u00a0b\u3000c", "é\u200d")
def test_every_accepted_id_goes_through_every_protocol(trigger_id: str, user_id: str) -> None:
    if (ids := accepted_ids(trigger_id, user_id)) is None:
        return
    assert ids == (trigger_id, user_id)

    push = outgoing(*ids, "push", "token")
    received = fcm_server.read(0.0, "p", "Bearer t", orjson.dumps(fcm_request(push, 0)))
    assert isinstance(received, IncomingMessage) and received.metadata == delivery_metadata(push)

    sms = outgoing(*ids, "sms", "+15551234567")
    form = twilio_form(sms, "+15550000000", "https://r.example/", 0)
    received = twilio_server.read(0.0, "sid", "Basic c2lkOng=", urlencode(form).encode())
    assert isinstance(received, IncomingMessage) and received.metadata == delivery_metadata(sms)

    email = outgoing(*ids, "email", "a@example.org")
    mail = message_from_bytes(mime_message(email, "b@example.org", time.time()))
    sent = {name.lower()[2:].replace("-", "_"): text for name, text in mail.items() if name.startswith("X-")}
    assert {name: str(make_header(decode_header(text))) for name, text in sent.items()} == delivery_metadata(email)

    line = an_acceptance(push.notification_id)
    assert msgspec.json.decode(msgspec.json.encode(line), type=AcceptedMessage) == line


@given(
    data=st.dictionaries(texts | st.sampled_from(["attempt", "data_from", "from", "gcm.x", "notify_critical"]), texts)
)
def test_no_accepted_data_replaces_metadata_or_other_data(data: dict[str, str]) -> None:
    accepted = isinstance(read_trigger(trigger_json(data=data), ()), Trigger)
    assert accepted is not any(map(is_reserved, data))
    if accepted:
        push = outgoing("t", "u", "push", "token", data=data)
        assert fcm_request(push, 0)["message"]["data"] == data | delivery_metadata(push)
        assert not data.keys() & delivery_metadata(push).keys()
