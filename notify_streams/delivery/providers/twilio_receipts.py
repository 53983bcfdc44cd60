"""Twilio's status callbacks, and messages that people send to our number.

Fields: https://www.twilio.com/docs/messaging/guides/track-outbound-message-status, https://www.twilio.com/docs/messaging/guides/webhook-request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from notify_streams.delivery.providers.delivery_metadata import read_marks
from notify_streams.delivery.providers.provider import ProviderOutcome
from notify_streams.delivery.providers.reports import AddressEvent, AddressReport, Report, receipt_report
from notify_streams.delivery.providers.twilio import Twilio
from notify_streams.delivery.providers.twilio_errors import OUTCOMES
from notify_streams.records.addresses import is_phone_number
from notify_streams.records.sms_keywords import Keyword, keyword_of

#: "Attempt to send to unsubscribed recipient": the number has opted out with Twilio.
OPTED_OUT: Final = "21610"
#: "Landline or unreachable carrier": of a message from a short code it may be the carrier, which takes none from short codes; the number is
#: good then (https://www.twilio.com/docs/api/errors/30006).
_UNREACHABLE: Final = "30006"
_DELIVERED: Final = frozenset(("delivered", "read"))
_FAILED: Final = frozenset(("undelivered", "failed", "canceled"))
_EVENTS: Final = {Keyword.STOP: AddressEvent.STOPPED, Keyword.START: AddressEvent.ALLOWED}


def twilio_reports(form: Mapping[str, str], query: Mapping[str, str]) -> list[Report]:
    """What a callback reports. `query`: of the URL that Twilio called, which has the delivery metadata.

    Steps on the way (queued, sending, sent) and messages without a keyword report nothing.
    """
    if "MessageStatus" in form:
        return _status(form, query)
    return _message(form) if form.get("SmsStatus") == "received" else []


def asks_for_help(form: Mapping[str, str]) -> bool:
    """Whether a person has sent HELP, and no messaging service has answered."""
    is_message = form.get("SmsStatus") == "received" and "OptOutType" not in form
    return is_message and keyword_of(form.get("Body", "")) is Keyword.HELP


def _status(form: Mapping[str, str], query: Mapping[str, str]) -> list[Report]:
    status, code = form["MessageStatus"], form.get("ErrorCode") or None
    reports: list[Report | None] = []
    marks = read_marks(query)
    if status in _DELIVERED and marks is not None:
        reports.append(receipt_report(marks, "delivered", Twilio.name))
    elif status in _FAILED:
        outcome = OUTCOMES.get(code or "", ProviderOutcome.REJECTED)
        reason = None
        if code == OPTED_OUT:
            reason = "stopped"
            reports.append(_about(AddressEvent.STOPPED, form.get("To", ""), form, by_provider=True))
        elif outcome is ProviderOutcome.DEAD_TOKEN and (code != _UNREACHABLE or is_phone_number(form.get("From", ""))):
            reason = "dead_token"
        if marks is not None:
            is_temporary = outcome is ProviderOutcome.RETRY
            reports.append(
                receipt_report(marks, "failed", Twilio.name, code=code, reason=reason, temporary=is_temporary)
            )
    return [report for report in reports if report is not None]


def _message(form: Mapping[str, str]) -> list[Report]:
    """`OptOutType` is set where the messaging service knows the keywords itself (Advanced Opt-Out)."""
    event = _EVENTS.get(keyword_of(form.get("OptOutType") or form.get("Body", "")) or Keyword.HELP)
    if event is None:
        return []
    report = _about(event, form.get("From", ""), form, by_provider=False)
    return [] if report is None else [report]


def _about(event: AddressEvent, number: str, form: Mapping[str, str], *, by_provider: bool) -> AddressReport | None:
    if not is_phone_number(number):
        return None
    detail = f"twilio {form.get('MessageSid', '')}"
    return AddressReport(event=event, channel="sms", address=number, detail=detail, by_provider=by_provider)
