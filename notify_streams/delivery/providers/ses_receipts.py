"""Events of Amazon SES, and text messages to a number of AWS, as SNS brings them.

SES: https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html (`eventType`, with tags) and
https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html (`notificationType`, with headers).
SMS: https://docs.aws.amazon.com/sms-voice/latest/userguide/two-way-sms-payload.html.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from email.errors import MessageError
from email.header import decode_header, make_header
from typing import Annotated, Final

import msgspec

from notify_streams.delivery.providers.delivery_metadata import read_marks
from notify_streams.delivery.providers.reports import AddressEvent, AddressReport, Report, receipt_report
from notify_streams.delivery.providers.ses import Ses
from notify_streams.delivery.providers.sns import Sns
from notify_streams.records.addresses import is_phone_number, mailbox
from notify_streams.records.base64url import from_base64url
from notify_streams.records.names import MARK_PREFIX
from notify_streams.records.sms_keywords import Keyword, keyword_of

_BASE64: Final = "-base64"
_HEADER_PREFIX: Final = "x-" + MARK_PREFIX.replace("_", "-")
#: Sub-types of a transient bounce that another mail would have as well.
_ABOUT_MAIL: Final = frozenset(("MessageTooLarge", "ContentRejected", "AttachmentRejected"))
#: Sub-type of a complaint about a mail that SES did not send: the address is on the suppression list of the account.
_NOT_SENT: Final = "OnAccountSuppressionList"
#: Feedback types with which no person complains: a mail that was taken for spam is none, and a report about SPF, DKIM or DMARC
#: (https://www.iana.org/assignments/marf-parameters, RFC 6591).
_NO_COMPLAINTS: Final = frozenset(("not-spam", "auth-failure"))
_EVENTS: Final = {Keyword.STOP: AddressEvent.STOPPED, Keyword.START: AddressEvent.ALLOWED}
_Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class _Header(msgspec.Struct):
    name: str
    value: str = ""


class _Mail(msgspec.Struct):
    message_id: str = msgspec.field(name="messageId", default="")
    tags: dict[str, list[str]] = {}
    headers: list[_Header] = []


class _Recipient(msgspec.Struct):
    address: str = msgspec.field(name="emailAddress", default="")


class _Bounce(msgspec.Struct):
    kind: str = msgspec.field(name="bounceType")
    sub_type: str = msgspec.field(name="bounceSubType", default="")
    recipients: list[_Recipient] = msgspec.field(name="bouncedRecipients", default_factory=list)
    timestamp: _Instant | None = None


class _Complaint(msgspec.Struct):
    sub_type: str | None = msgspec.field(name="complaintSubType", default=None)
    feedback: str | None = msgspec.field(name="complaintFeedbackType", default=None)
    recipients: list[_Recipient] = msgspec.field(name="complainedRecipients", default_factory=list)
    timestamp: _Instant | None = None


class _At(msgspec.Struct):
    timestamp: _Instant | None = None


class _Event(msgspec.Struct):
    """An event of SES. The field of its type is set."""

    event: str | None = msgspec.field(name="eventType", default=None)
    notification: str | None = msgspec.field(name="notificationType", default=None)
    mail: _Mail = msgspec.field(default_factory=_Mail)
    bounce: _Bounce | None = None
    complaint: _Complaint | None = None
    delivery: _At | None = None
    reject: _At | None = None
    # A message by SMS has these instead.
    number: str | None = msgspec.field(name="originationNumber", default=None)
    text: str | None = msgspec.field(name="messageBody", default=None)
    inbound_id: str = msgspec.field(name="inboundMessageId", default="")


_read: Final = msgspec.json.Decoder(_Event).decode


def ses_reports(content: str, at: datetime) -> list[Report]:
    """What the content of an SNS message reports; `at`: when SNS got it. Other content reports nothing."""
    try:
        event = _read(content)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return []
    if event.number is not None:
        return _sms(event, at)
    kind = event.event or event.notification
    if kind == "Bounce" and event.bounce is not None:
        return _bounce(event.bounce, event.mail)
    if kind == "Complaint" and event.complaint is not None:
        return _complaint(event.complaint, event.mail)
    if kind == "Delivery":
        return _receipt(event.mail, "delivered", None if event.delivery is None else event.delivery.timestamp)
    return _receipt(event.mail, "failed", at, code="Reject") if kind == "Reject" else []


def _complaint(complaint: _Complaint, mail: _Mail) -> list[Report]:
    """A person complains about a mail that arrived, or has complained before, and SES did not send this one."""
    if (complaint.feedback or "").lower() in _NO_COMPLAINTS:
        return _receipt(mail, "delivered", complaint.timestamp)
    if complaint.sub_type == _NOT_SENT:
        receipt = _receipt(mail, "failed", complaint.timestamp, code=f"Complaint/{_NOT_SENT}")
    else:
        receipt = _receipt(mail, "delivered", complaint.timestamp, reason="complaint")
    return [*_about(AddressEvent.COMPLAINT, complaint.recipients, mail, complaint.timestamp), *receipt]


def _bounce(bounce: _Bounce, mail: _Mail) -> list[Report]:
    """Permanent: the address is suppressed. Undetermined: nothing is known, so neither that nor another attempt."""
    is_permanent = bounce.kind == "Permanent"
    is_temporary = bounce.kind == "Transient" and bounce.sub_type not in _ABOUT_MAIL
    code = "/".join(filter(None, (bounce.kind, bounce.sub_type)))
    reason = "bounced" if is_permanent else None
    reports = _receipt(mail, "failed", bounce.timestamp, code=code, reason=reason, temporary=is_temporary)
    if is_permanent:
        reports = [*_about(AddressEvent.BOUNCED, bounce.recipients, mail, bounce.timestamp), *reports]
    return reports


def _receipt(
    mail: _Mail,
    state: str,
    at: datetime | None,
    *,
    code: str | None = None,
    reason: str | None = None,
    temporary: bool = False,
) -> list[Report]:
    marks = read_marks(_metadata(mail))
    if marks is None:
        return []
    report = receipt_report(marks, state, Ses.name, at, code=code, reason=reason, temporary=temporary)
    return [] if report is None else [report]


def _about(event: AddressEvent, recipients: Sequence[_Recipient], mail: _Mail, at: datetime | None) -> list[Report]:
    detail = f"ses {mail.message_id}"
    found = dict.fromkeys(mailbox(one.address) for one in recipients)
    return [
        AddressReport(event=event, channel="email", address=address, detail=detail, by_provider=True, at=at)
        for address in found
        if address is not None
    ]


def _sms(event: _Event, at: datetime) -> list[Report]:
    found = _EVENTS.get(keyword_of(event.text or "") or Keyword.HELP)
    if found is None or not is_phone_number(event.number or ""):
        return []
    detail = f"{Sns.name} {event.inbound_id}"
    return [AddressReport(event=found, channel="sms", address=event.number or "", detail=detail, at=at)]


def _metadata(mail: _Mail) -> Mapping[str, str]:
    """The delivery metadata among the tags (`ses.email_tags`), or among the headers, if the notification has them."""
    found: dict[str, str] = {}
    for name, values in mail.tags.items():
        if not name.startswith(MARK_PREFIX) or not values:
            continue
        if not name.endswith(_BASE64):
            found[name] = values[0]
            continue
        try:
            found[name.removesuffix(_BASE64)] = from_base64url(values[0]).decode()
        except ValueError:
            continue
    if found:
        return found
    for header in mail.headers:
        if header.name.lower().startswith(_HEADER_PREFIX):
            name = header.name.lower().removeprefix("x-").replace("-", "_")
            try:
                found[name] = str(make_header(decode_header(header.value)))
            except (MessageError, LookupError, ValueError):
                continue
    return found
