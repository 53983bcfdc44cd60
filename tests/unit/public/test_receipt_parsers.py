"""What each provider's reports mean."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from notify_streams.delivery.providers.delivery_metadata import Marks, delivery_metadata, read_marks
from notify_streams.delivery.providers.generic_receipts import InvalidReport, generic_reports
from notify_streams.delivery.providers.provider import Outgoing
from notify_streams.delivery.providers.reports import AddressReport, ReceiptReport, Report
from notify_streams.delivery.providers.ses import email_tags
from notify_streams.delivery.providers.ses_receipts import ses_reports
from notify_streams.delivery.providers.twilio_receipts import twilio_reports

AT = datetime(2026, 11, 28, 12, tzinfo=UTC)
ID = "Bestellung 1/ä-00.email"
MESSAGE = Outgoing(
    delivery_id=ID, notification_id="n", channel="email", to="a@b.example", body="x", attempt=2, region="eu", bucket=7
)
METADATA = delivery_metadata(MESSAGE)


def words(reports: list[Report]) -> list[tuple[object, ...]]:
    """Each report in short; a receipt's marks are checked."""
    found: list[tuple[object, ...]] = []
    for one in reports:
        if isinstance(one, AddressReport):
            assert one.address not in repr(one)
            found.append((one.event.value, one.channel, one.address))
        else:
            assert isinstance(one, ReceiptReport)
            receipt = one.receipt
            assert (one.region, one.bucket, receipt.delivery_id, receipt.attempt) == ("eu", 7, ID, 2)
            found.append((receipt.state, receipt.code, receipt.reason, receipt.temporary))
    return found


def test_marks_come_back_as_they_were_sent() -> None:
    assert read_marks(METADATA) == Marks(ID, 2, "eu", 7)


@pytest.mark.parametrize(
    "wrong", [{"notify_bucket": ""}, {"notify_attempt": "-1"}, {"notify_bucket": "9" * 9}, {"notify_region": ""}]
)
def test_marks_that_we_did_not_write_are_none(wrong: dict[str, str]) -> None:
    assert read_marks(METADATA | wrong) is None


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"MessageStatus": "delivered"}, [("delivered", None, None, False)]),
        ({"MessageStatus": "read"}, [("delivered", None, None, False)]),
        ({"MessageStatus": "sent"}, []),
        ({"MessageStatus": "undelivered", "ErrorCode": "30003"}, [("failed", "30003", None, True)]),
        (
            {"MessageStatus": "undelivered", "ErrorCode": "30006", "From": "+15550000000"},
            [("failed", "30006", "dead_token", False)],
        ),
        ({"MessageStatus": "undelivered", "ErrorCode": "30006", "From": "24680"}, [("failed", "30006", None, False)]),
        (
            {"MessageStatus": "undelivered", "ErrorCode": "30005", "From": "24680"},
            [("failed", "30005", "dead_token", False)],
        ),
        ({"MessageStatus": "failed", "ErrorCode": "30007"}, [("failed", "30007", None, False)]),
        ({"MessageStatus": "failed"}, [("failed", None, None, False)]),
        (
            {"MessageStatus": "failed", "ErrorCode": "21610", "To": "+15550100201"},
            [("stopped", "sms", "+15550100201"), ("failed", "21610", "stopped", False)],
        ),
        ({"SmsStatus": "received", "Body": " Stop. ", "From": "+15550100201"}, [("stopped", "sms", "+15550100201")]),
        ({"SmsStatus": "received", "Body": "START", "From": "+15550100201"}, [("allowed", "sms", "+15550100201")]),
        ({"SmsStatus": "received", "Body": "help", "From": "+15550100201"}, []),
        ({"SmsStatus": "received", "Body": "see you at the stop", "From": "+15550100201"}, []),
        (
            {"SmsStatus": "received", "Body": "arrêt", "OptOutType": "STOP", "From": "+15550100201"},
            [("stopped", "sms", "+15550100201")],
        ),
        ({"SmsStatus": "received", "Body": "STOP", "From": "whatsapp:+15550100201"}, []),
        ({}, []),
    ],
)
def test_twilio(form: dict[str, str], expected: list[tuple[object, ...]]) -> None:
    assert words(twilio_reports(form, METADATA)) == expected


def test_a_callback_without_our_marks_still_stops() -> None:
    form = {"MessageStatus": "failed", "ErrorCode": "21610", "To": "+15550100201"}
    assert [type(one) for one in twilio_reports(form, {})] == [AddressReport]
    assert twilio_reports({"MessageStatus": "delivered"}, METADATA | {"notify_delivery_id": "x" * 300}) == []


def an_event(kind: str, **fields: Any) -> str:
    tags = {tag["Name"]: [tag["Value"]] for tag in email_tags(MESSAGE)} | {"ses:from-domain": ["b.example"]}
    mail = {"messageId": "m-1", "timestamp": "2026-11-28T11:59:00Z", "tags": tags, "destination": ["a@b.example"]}
    return orjson.dumps({"eventType": kind, "mail": mail, **fields}).decode()


def a_bounce(kind: str, sub_type: str) -> dict[str, Any]:
    recipients = [{"emailAddress": "A@b.example", "status": "5.1.1"}]
    return {"bounce": {"bounceType": kind, "bounceSubType": sub_type, "bouncedRecipients": recipients}}


def a_complaint(sub_type: str | None, feedback: str | None) -> str:
    recipients = [{"emailAddress": "a@b.example"}]
    complaint = {"complainedRecipients": recipients, "complaintSubType": sub_type, "complaintFeedbackType": feedback}
    return an_event("Complaint", complaint=complaint)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            a_complaint(None, "abuse"),
            [("complaint", "email", "a@b.example"), ("delivered", None, "complaint", False)],
        ),
        (
            a_complaint("OnAccountSuppressionList", None),
            [("complaint", "email", "a@b.example"), ("failed", "Complaint/OnAccountSuppressionList", None, False)],
        ),
        (a_complaint(None, "not-spam"), [("delivered", None, None, False)]),
        (a_complaint(None, "auth-failure"), [("delivered", None, None, False)]),
        (an_event("Delivery", delivery={"timestamp": "2026-11-28T12:00:00Z"}), [("delivered", None, None, False)]),
        (
            an_event("Bounce", **a_bounce("Permanent", "General")),
            [("bounced", "email", "A@b.example"), ("failed", "Permanent/General", "bounced", False)],
        ),
        (
            an_event("Bounce", **a_bounce("Transient", "MailboxFull")),
            [("failed", "Transient/MailboxFull", None, True)],
        ),
        (
            an_event("Bounce", **a_bounce("Transient", "ContentRejected")),
            [("failed", "Transient/ContentRejected", None, False)],
        ),
        (
            an_event("Bounce", **a_bounce("Undetermined", "Undetermined")),
            [("failed", "Undetermined/Undetermined", None, False)],
        ),
        (
            an_event("Complaint", complaint={"complainedRecipients": [{"emailAddress": "a@b.example"}]}),
            [("complaint", "email", "a@b.example"), ("delivered", None, "complaint", False)],
        ),
        (an_event("Reject", reject={"reason": "Bad content"}), [("failed", "Reject", None, False)]),
        (an_event("Open", open={"userAgent": "x"}), []),
        (an_event("Bounce"), []),
        ("hello", []),
        ("[]", []),
        ('{"originationNumber":"+15550100201","messageBody":"STOP"}', [("stopped", "sms", "+15550100201")]),
        ('{"originationNumber":"+15550100201","messageBody":"when?"}', []),
    ],
)
def test_ses_and_sns(content: str, expected: list[tuple[object, ...]]) -> None:
    assert words(ses_reports(content, AT)) == expected


def test_a_notification_of_ses_has_the_marks_in_its_headers() -> None:
    from notify_streams.delivery.providers.mime import mime_message

    lines = (
        mime_message(MESSAGE, "n@b.example", 0.0).decode().partition("\r\n\r\n")[0].replace("\r\n ", " ").split("\r\n")
    )
    headers = [{"name": name, "value": value} for name, _, value in (line.partition(": ") for line in lines)]
    content = {"notificationType": "Delivery", "mail": {"messageId": "m", "headers": headers}}
    assert words(ses_reports(orjson.dumps(content).decode(), AT)) == [("delivered", None, None, False)]


@pytest.mark.parametrize("text", ["=?é?q?=?=", "=?\0?b?eA==?=", "=?utf-8?b?=?=", "=?no-charset?q?=FF?="])
def test_a_header_that_cannot_be_decoded_does_not_lose_the_bounce(text: str) -> None:
    """A mail that was not ours may have it: the address does not exist all the same."""
    bounce = {"bounceType": "Permanent", "bouncedRecipients": [{"emailAddress": "a@b.example"}]}
    mail = {"messageId": "m", "headers": [{"name": "X-Notify-Delivery-Id", "value": text}]}
    content = {"notificationType": "Bounce", "bounce": bounce, "mail": mail}
    assert words(ses_reports(orjson.dumps(content).decode(), AT)) == [("bounced", "email", "a@b.example")]


DELIVERY = {"delivery_id": ID, "region": "eu", "bucket": 7, "attempt": 2}


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"type": "delivery.delivered", "data": DELIVERY}, [("delivered", None, None, False)]),
        (
            {"type": "delivery.failed", "data": DELIVERY | {"code": "X1", "reason": "dead_token", "temporary": True}},
            [("failed", "X1", "dead_token", True)],
        ),
        (
            {"type": "address.complaint", "data": {"channel": "email", "address": "a@b.example"}},
            [("complaint", "email", "a@b.example")],
        ),
        ({"type": "something.else", "data": {}}, []),
    ],
)
def test_generic(event: dict[str, Any], expected: list[tuple[object, ...]]) -> None:
    reports = generic_reports(orjson.dumps(event | {"timestamp": "2026-11-28T12:00:00Z"}), "msg_1", AT)
    assert words(reports) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"hello",
        b"\xff",
        b"[" * 100_000,
        b'{"type":"delivery.failed"}',
        orjson.dumps({"type": "delivery.failed", "data": {"delivery_id": ID}}),
        orjson.dumps({"type": "delivery.failed", "data": DELIVERY | {"code": "a\nb"}}),
        orjson.dumps({"type": "delivery.failed", "data": DELIVERY | {"reason": "because"}}),
        orjson.dumps({"type": "address.stopped", "data": {"channel": "push", "address": "token"}}),
        orjson.dumps({"type": "address.stopped", "data": {"channel": "sms", "address": "a@b.example"}}),
        *(
            b'{"type": "address.allowed", "timestamp": "%b", "data": {"channel": "sms", "address": "+15550100201"}}'
            % at
            for at in (b"1969-12-31T23:59:59Z", b"0001-01-01T00:00:00+10:00")
        ),
    ],
)
def test_what_is_no_generic_report_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidReport) as refusal:
        generic_reports(body, "msg_1", AT)
    assert "b.example" not in str(refusal.value)


def test_a_report_about_an_address_has_the_time_of_its_event_not_of_its_sending() -> None:
    event = {"type": "address.allowed", "data": {"channel": "sms", "address": "+15550100201"}}
    for timestamp, at in (({}, AT), ({"timestamp": "2026-11-28T11:00:00Z"}, AT.replace(hour=11))):
        [report] = generic_reports(orjson.dumps(event | timestamp), "msg_1", AT)
        assert isinstance(report, AddressReport) and report.at == at
