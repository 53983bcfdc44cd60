"""A suppressed address is known in the other regions before the sender gets its answer."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from aiohttp.test_utils import TestClient
from cryptography.fernet import Fernet
from standardwebhooks import Webhook

from notify_streams.preferences.stops import Stops
from notify_streams.preferences.suppressed_addresses import AddressIds
from notify_streams.preferences.writer import AppliedUpdates, PreferenceWriter, StoredChoice
from notify_streams.public.region_stops import REGION_STOPS, tell_regions
from notify_streams.public.relay import PROOF_HEADER, Relay
from notify_streams.records.address_ids import address_id
from notify_streams.records.choice_sources import ChoiceSource
from notify_streams.records.link_token import LinkTokens
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.user_records import PreferenceUpdate, encode_record
from notify_streams.secret import Secret
from notify_streams.settings_public import PublicSettings
from notify_streams.web.worker_objects import one_for
from tests.builders import categories
from tests.unit.web.conftest import NewWorker, Visit

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY = Fernet.generate_key().decode()
IDENTITY = address_id(b"k" * 32, "sms", "+15550100200")
AT = datetime(2026, 11, 28, 12, tzinfo=UTC)
UPDATE = PreferenceUpdate(IDENTITY, "stopped", "sms", False, AT, ChoiceSource.SMS_KEYWORD, "twilio SM1")


@dataclass
class Writer:
    """Takes every batch."""

    applied: list[Any] = field(default_factory=list)

    async def apply_updates(self, updates: Any) -> AppliedUpdates:
        self.applied += updates
        return AppliedUpdates({}, [], True)

    async def put(self, *_: Any, immediate: bool) -> StoredChoice:
        return StoredChoice(1, AT)


async def a_region(visit: Visit, new_worker: NewWorker) -> tuple[TestClient[Any, Any], Writer]:
    worker = new_worker("webhooks", public=PublicSettings(link_keys=Secret(KEY)))
    writer = Writer()
    worker.preferences.writer = cast("PreferenceWriter", writer)
    return await visit(worker), writer


async def send(new_worker: NewWorker, urls: dict[str, str], update: PreferenceUpdate, key: str = KEY) -> Any:
    worker = new_worker("webhooks", public=PublicSettings(urls=urls, link_keys=Secret(key)))
    await tell_regions(worker, update)
    await one_for(worker, Relay).close()


async def test_each_other_region_applies_it_and_one_that_is_away_does_not_stop_that(
    visit: Visit, new_worker: NewWorker
) -> None:
    client, writer = await a_region(visit, new_worker)
    urls = {"us": "http://127.0.0.1:1", "eu": str(client.make_url("")).rstrip("/"), "asia": "http://127.0.0.1:1"}
    await send(new_worker, urls, UPDATE)
    assert writer.applied == [(bucket_of(IDENTITY, 8), UPDATE)]


async def test_a_complaint_is_known_in_the_other_region_before_it_is_answered(
    visit: Visit, new_worker: NewWorker
) -> None:
    client, writer = await a_region(visit, new_worker)
    urls = {"us": "http://127.0.0.1:1", "eu": str(client.make_url("")).rstrip("/")}
    public = PublicSettings(urls=urls, link_keys=Secret(KEY), webhook_secrets=Secret(SECRET))
    here = new_worker("webhooks", public=public)
    here.preferences.stops = Stops(cast("PreferenceWriter", Writer()), categories(), 8, AddressIds(b"k" * 32, 8))
    sender = await visit(here)
    body = '{"type": "address.complaint", "data": {"channel": "email", "address": "ann@example.org"}}'
    headers = {"webhook-id": "m-1", "webhook-timestamp": str(int(time.time()))}
    headers["webhook-signature"] = Webhook(SECRET).sign("m-1", datetime.now(UTC), body)
    response = await sender.post("/webhooks/generic", data=body, headers=headers)
    assert response.status == 200
    ((_, update),) = writer.applied
    assert (update.user_id, update.category, update.opted_in, update.source) == (
        address_id(b"k" * 32, "email", "ann@example.org"),
        "complaint",
        False,
        ChoiceSource.COMPLAINT,
    )
    await one_for(here, Relay).close()


async def test_only_a_region_can_tell_and_only_of_suppressed_addresses(visit: Visit, new_worker: NewWorker) -> None:
    client, writer = await a_region(visit, new_worker)
    assert (await client.post(REGION_STOPS, data=encode_record(UPDATE))).status == 403
    for proof in ("", "é", "x" * 200, LinkTokens([KEY]).make("u-1", "marketing", "email", "en") + "=="):
        response = await client.post(REGION_STOPS, data=encode_record(UPDATE), headers={PROOF_HEADER: proof})
        assert response.status == 403
    urls = {"eu": str(client.make_url("")).rstrip("/")}
    await send(new_worker, urls, UPDATE, Fernet.generate_key().decode())
    others = [
        PreferenceUpdate("u-1", "marketing", "email", False, AT),
        PreferenceUpdate(IDENTITY, "stopped", "sms", True, AT),
    ]
    for other in others:
        await send(new_worker, urls, other)
    assert writer.applied == []
