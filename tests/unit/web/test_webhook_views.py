"""`/webhooks/{provider}` over HTTP, on a worker without services."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from aiohttp.test_utils import TestClient
from aiokafka.errors import KafkaConnectionError
from standardwebhooks.webhooks import Webhook
from twilio.request_validator import RequestValidator

from notify_streams import metrics
from notify_streams.delivery.providers.delivery_metadata import Marks
from notify_streams.delivery.providers.reports import AddressEvent, AddressReport, receipt_report
from notify_streams.delivery.receipts import Receipt
from notify_streams.errors import Refused, RetryLater
from notify_streams.followed_files import FollowedSecrets
from notify_streams.preferences.stops import Stops, fitting_detail
from notify_streams.public import webhook_sources
from notify_streams.public.report_store import ReportStore, apply_address_report, receipt_record
from notify_streams.records.choice_sources import ChoiceSource
from notify_streams.records.user_records import PreferenceUpdate
from notify_streams.regions.forwarding.headers import arrival_headers
from notify_streams.secret import Secret
from notify_streams.settings import Settings
from notify_streams.settings_providers import ProviderSettings
from notify_streams.settings_public import PublicSettings
from tests.unit.web.conftest import Visit
from tests.waiting import until

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
URL = "https://notify.us.example.com"
PUBLIC = PublicSettings(
    urls={"us": URL},
    webhook_secrets=Secret(SECRET),
    sns_topics=("arn:aws:sns:eu-west-1:123456789012:t",),
)
PROVIDERS = ProviderSettings(twilio_account_sid="AC1", twilio_auth_token=Secret("the-token"))
TWILIO = "/webhooks/twilio?notify_delivery_id=x"
FORM = {"MessageSid": "SM1", "MessageStatus": "sent", "To": "+15550100201"}
AT = datetime(2026, 11, 28, 12, tzinfo=UTC)
Client = TestClient[Any, Any]


@pytest.fixture
async def client(visit: Visit) -> AsyncIterator[Client]:
    yield await visit(role="webhooks", public=PUBLIC, providers=PROVIDERS)


def count(provider: str, result: str) -> float:
    labels = {"provider": provider, "result": result}
    return metrics.REGISTRY.get_sample_value("notify_webhooks_total", labels) or 0


def signed(name: str, body: str) -> dict[str, str]:
    at = datetime.now(UTC)
    signature = Webhook(SECRET).sign(name, at, body)
    return {"webhook-id": name, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}


async def test_twilio_gets_an_empty_answer(client: Client) -> None:
    signature = RequestValidator("the-token").compute_signature(URL + TWILIO, FORM)
    response = await client.post(TWILIO, data=FORM, headers={"X-Twilio-Signature": signature})
    assert (response.status, response.content_type) == (200, "text/xml")
    assert "<Response></Response>" in await response.text()
    changed = await client.post(TWILIO, data=FORM | {"To": "+1"}, headers={"X-Twilio-Signature": signature})
    assert changed.status == 403
    moved = await client.post(TWILIO + "y", data=FORM, headers={"X-Twilio-Signature": signature})
    assert moved.status == 403


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of secrets are looked at all the time."""
    monkeypatch.setattr(webhook_sources, "FollowedSecrets", partial(FollowedSecrets, check_s=0.01))


@pytest.mark.usefixtures("quick_looks")
async def test_a_token_of_twilio_that_is_replaced_needs_no_restart(visit: Visit, tmp_path: Path) -> None:
    own, further = tmp_path / "token", tmp_path / "further"
    own.write_text("first\n")
    further.write_text("second,third\n")
    providers = ProviderSettings(twilio_account_sid="AC1", twilio_auth_token=Secret.read(own))
    public = msgspec.structs.replace(PUBLIC, twilio_auth_tokens=Secret.read(further))
    client = await visit(role="webhooks", public=public, providers=providers)

    async def status(token: str) -> int:
        signature = RequestValidator(token).compute_signature(URL + TWILIO, FORM)
        return (await client.post(TWILIO, data=FORM, headers={"X-Twilio-Signature": signature})).status

    async def is_taken(token: str) -> bool:
        return await status(token) == 200

    assert [await status(one) for one in ("first", "second", "third", "fourth")] == [200, 200, 200, 403]
    own.write_text("fourth\n")
    await until(partial(is_taken, "fourth"))
    assert [await status(one) for one in ("first", "second", "third")] == [403, 200, 200]
    further.write_text("fifth")
    await until(partial(is_taken, "fifth"))
    assert [await status(one) for one in ("second", "third", "fourth")] == [403, 403, 200]


@pytest.mark.usefixtures("quick_looks")
async def test_a_secret_of_webhooks_that_is_replaced_needs_no_restart(
    visit: Visit, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "secrets"
    file.write_text("whsec_" + "A" * 32)
    public = msgspec.structs.replace(PUBLIC, webhook_secrets=Secret.read(file))
    client = await visit(role="webhooks", public=public, providers=PROVIDERS)

    async def is_taken() -> bool:
        return (await client.post("/webhooks/generic", data="{}", headers=signed("w-1", "{}"))).status != 403

    assert not await is_taken()
    file.write_text("not-a-secret")
    await until(lambda: any(vars(one).get("action") == "credential.refused" for one in caplog.records))
    assert "not-a-secret" not in caplog.text
    assert not await is_taken()
    file.write_text(SECRET)
    await until(is_taken)


async def test_help_is_answered_with_the_text_of_the_settings(visit: Visit) -> None:
    public = msgspec.structs.replace(PUBLIC, sms_help_text="Help & more: example.com")
    messages = {
        "help!": "<Response><Message>Help &amp; more: example.com</Message></Response>",
        "hello": "<Response></Response>",
    }
    client = await visit(role="webhooks", public=public, providers=PROVIDERS)
    for text, answer in messages.items():
        form = {"MessageSid": "SM1", "SmsStatus": "received", "From": "+15550100201", "Body": text}
        signature = RequestValidator("the-token").compute_signature(URL + TWILIO, form)
        response = await client.post(TWILIO, data=form, headers={"X-Twilio-Signature": signature})
        assert (response.status, await response.text()) == (200, f'<?xml version="1.0" encoding="UTF-8"?>{answer}')


async def test_a_generic_webhook_counts_once(client: Client) -> None:
    body = '{"type":"other","data":{}}'
    before = count("generic", "accepted"), count("generic", "repeated")
    for _ in range(2):
        response = await client.post("/webhooks/generic", data=body, headers=signed("msg_1", body))
        assert (response.status, await response.json()) == (200, {"accepted": 0})
    assert (count("generic", "accepted"), count("generic", "repeated")) == (before[0] + 1, before[1] + 1)
    broken = await client.post("/webhooks/generic", data="{}", headers=signed("msg_2", "{}"))
    assert broken.status == 400


@pytest.mark.parametrize("provider", ["twilio", "sns", "generic"])
async def test_what_is_not_signed_is_refused(client: Client, provider: str) -> None:
    before = count(provider, "refused")
    for body in (b"", b"{}", b"\xff" * 100, urlencode(FORM).encode()):
        assert (await client.post(f"/webhooks/{provider}", data=body)).status == 403
    assert count(provider, "refused") == before + 4
    assert (await client.get(f"/webhooks/{provider}")).status == 405


@pytest.mark.parametrize("provider", ["twilio", "sns", "generic"])
async def test_without_a_key_nothing_is_open(visit: Visit, provider: str) -> None:
    client = await visit(role="webhooks")
    response = await client.post(f"/webhooks/{provider}", data=FORM)
    assert response.status == 503 and "this webhook is off: set" in (await response.json())["error"]


@pytest.mark.parametrize(("provider", "limit"), [("twilio", 65_536), ("generic", 65_536), ("sns", 655_360)])
async def test_a_body_has_a_limit(client: Client, provider: str, limit: int) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(limit // 65_536):
            yield b"a" * 65_536
        yield b"b"

    assert (await client.post(f"/webhooks/{provider}", data=chunks())).status == 413
    assert (await client.post(f"/webhooks/{provider}", data=b"a" * limit)).status == 403


def a_settings() -> Settings:
    return Settings(region="us", kafka="n", redis="n", shards=("mongodb://one",))


def test_a_receipt_goes_to_the_bucket_of_its_delivery_and_to_its_region() -> None:
    report = receipt_report(Marks("t-1.sms", 2, "us", 3), "failed", "twilio", code="30003", temporary=True)
    assert report is not None
    record = receipt_record(report, a_settings())
    assert record is not None and record[:3] == ("receipts", 3, None) and not record[4]
    assert msgspec.json.decode(record[3], type=Receipt) == report.receipt
    elsewhere = receipt_record(msgspec.structs.replace(report, region="eu"), a_settings())
    assert elsewhere is not None and elsewhere[:2] == ("forward.eu", 3)
    assert dict(elsewhere[4]) == {"hops": b"1", "origin": b"us", "target": b"receipts"}
    assert arrival_headers(elsewhere[4])[0] == "receipts"
    for wrong in ({"region": "mars"}, {"bucket": -1}):
        assert receipt_record(msgspec.structs.replace(report, **wrong), a_settings()) is None
    of_more_buckets = receipt_record(msgspec.structs.replace(report, bucket=8 + 3), a_settings())
    assert of_more_buckets is not None and of_more_buckets[:2] == ("receipts", 3)


class Noted(Stops):
    """Notes what it is asked for."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.error = error

    async def suppress_address(self, *arguments: Any) -> PreferenceUpdate:
        if self.error is not None:
            raise self.error
        self.calls.append(("suppress", *arguments))
        return PreferenceUpdate("address:sms:0a", arguments[2], arguments[0], False, datetime.now(UTC))

    def identity_of(self, channel: str, address: str) -> tuple[str, int]:
        return "address:sms:0a", 3

    async def allow_address(self, *arguments: Any, at: datetime | None = None) -> None:
        self.calls.append(("allow", *arguments, at))


def about(event: AddressEvent, **but: Any) -> AddressReport:
    return AddressReport(event=event, channel="sms", address="+15550100201", detail="SM1", **but)


async def never(identity: str, bucket: int, detail: str) -> bool:
    assert (identity, bucket, detail) == ("address:sms:0a", 3, "SM1")
    return False


async def always(identity: str, bucket: int, detail: str) -> bool:
    return True


async def test_a_start_that_is_sent_again_does_not_undo_a_later_stop() -> None:
    stops = Noted()
    await apply_address_report(about(AddressEvent.ALLOWED), stops, always)
    assert stops.calls == []


async def test_a_start_with_a_long_id_is_known_under_the_id_of_the_history() -> None:
    asked: list[str] = []

    async def was_applied(identity: str, bucket: int, detail: str) -> bool:
        asked.append(detail)
        return False

    stops = Noted()
    report = msgspec.structs.replace(about(AddressEvent.ALLOWED), detail="generic " + "a" * 256)
    await apply_address_report(report, stops, was_applied)
    assert asked == [fitting_detail(report.detail)] and stops.calls[0][3] == asked[0]


async def test_what_is_reported_about_an_address_is_a_choice() -> None:
    stops = Noted()
    for report in (
        about(AddressEvent.STOPPED),
        about(AddressEvent.STOPPED, by_provider=True),
        about(AddressEvent.ALLOWED, at=AT),
        about(AddressEvent.COMPLAINT, by_provider=True),
        about(AddressEvent.BOUNCED, by_provider=True),
    ):
        known = await apply_address_report(report, stops, never)
        assert (known is None) is (report.event is AddressEvent.ALLOWED)
    number = "sms", "+15550100201"
    assert stops.calls == [
        ("suppress", *number, "stopped", "SM1", None),
        ("suppress", *number, "stopped", "SM1", ChoiceSource.PROVIDER_OPT_OUT),
        ("allow", *number, "SM1", AT),
        ("suppress", *number, "complaint", "SM1"),
        ("suppress", *number, "bounced", "SM1"),
    ]


async def test_a_stop_that_cannot_be_kept_is_not_acknowledged() -> None:
    with pytest.raises(RetryLater, match=r"set public\.address_key"):
        await apply_address_report(about(AddressEvent.STOPPED), Noted(Refused("set public.address_key")), never)


class Kafka:
    """A worker whose Kafka answers only once `works` is set."""

    def __init__(self) -> None:
        self.settings = a_settings()
        self.preferences = SimpleNamespace(stops=Noted())
        self.works = False
        self.batches: list[tuple[str, int, int]] = []

    async def send_batch(self, topic: str, partition: int, records: Any) -> None:
        if not self.works:
            raise KafkaConnectionError
        self.batches.append((topic, partition, len(records)))


async def test_a_receipt_is_acknowledged_when_kafka_has_it() -> None:
    worker = Kafka()
    reports = [receipt_report(Marks(f"t-{one}.sms", 1, "us", one % 2), "delivered", "twilio") for one in range(6)]
    given = [one for one in reports if one is not None]
    with pytest.raises(RetryLater):
        await ReportStore(worker, 0.1).store(given[:1])  # type: ignore[arg-type]
    worker.works = True
    store = ReportStore(worker)  # type: ignore[arg-type]
    await asyncio.gather(*(store.store([one]) for one in given), store.store([about(AddressEvent.STOPPED)]))
    assert {batch[:2] for batch in worker.batches} == {("receipts", 0), ("receipts", 1)}
    assert sum(batch[2] for batch in worker.batches) >= 6
    assert len(worker.preferences.stops.calls) == 1
