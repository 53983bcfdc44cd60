"""Signed webhooks about deliveries, as Twilio and others make them."""

from __future__ import annotations

import hmac
import time
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import orjson

from notify_streams.records.ids import delivery_id, notification_id
from notify_streams.records.names import MARK_PREFIX
from notify_streams.records.partitioner import bucket_of

if TYPE_CHECKING:
    from notify_streams.settings import Settings

TWILIO_TOKEN = "bench-token"


@dataclass(frozen=True, slots=True)
class BenchDelivery:
    """A push of the system `payments`."""

    trigger_id: str
    user_id: str

    @property
    def id(self) -> str:
        return delivery_id(notification_id(self.trigger_id, self.user_id, "payments"), "push")


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request that a provider would send."""

    path: str
    body: bytes
    headers: dict[str, str]


def twilio_delivered(settings: Settings, delivery: BenchDelivery) -> SignedRequest:
    """A status callback of Twilio; signed for the region's public URL."""
    marks = {
        "delivery_id": delivery.id,
        "attempt": "1",
        "region": settings.region,
        "bucket": str(bucket_of(delivery.user_id, settings.partitions)),
    }
    path = "/webhooks/twilio?" + urlencode({MARK_PREFIX + name: text for name, text in marks.items()})
    form = {"MessageSid": "SM1", "MessageStatus": "delivered", "SmsStatus": "delivered", "To": "+15550100201"}
    url = settings.public.urls[settings.region] + path
    text = url + "".join(name + form[name] for name in sorted(form))
    signature = b64encode(hmac.digest(TWILIO_TOKEN.encode(), text.encode(), "sha1")).decode()
    headers = {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"}
    return SignedRequest(path, urlencode(form).encode(), headers)


def generic_delivered(settings: Settings, delivery: BenchDelivery, webhook_id: str) -> SignedRequest:
    """The same by Standard Webhooks."""
    data = {
        "delivery_id": delivery.id,
        "region": settings.region,
        "bucket": bucket_of(delivery.user_id, settings.partitions),
        "attempt": 1,
    }
    body = orjson.dumps({"type": "delivery.delivered", "data": data})
    key = b64decode(settings.public.webhook_secret_list()[0].removeprefix("whsec_"))
    at = str(int(time.time()))
    signature = b64encode(hmac.digest(key, f"{webhook_id}.{at}.".encode() + body, "sha256")).decode()
    headers = {"webhook-id": webhook_id, "webhook-timestamp": at, "webhook-signature": f"v1,{signature}"}
    return SignedRequest("/webhooks/generic", body, headers)
