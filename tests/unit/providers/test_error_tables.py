"""Every code that a provider documents, or that its packages name, has a row; other codes are retried and counted."""

from __future__ import annotations

from itertools import chain

import aiosmtplib
import orjson
import pytest
from firebase_admin import _utils, exceptions, messaging

from notify_streams import metrics
from notify_streams.delivery.answer_counts import AnswerCounts
from notify_streams.delivery.providers import ProviderOutcome, ProviderResult, fcm_errors, smtp_errors, twilio_errors
from notify_streams.delivery.providers.apns import apns_result
from notify_streams.delivery.providers.fcm import fcm_result
from notify_streams.delivery.providers.http_responses import HttpResponse
from notify_streams.delivery.providers.smtp import smtp_result
from notify_streams.delivery.providers.twilio import twilio_result


def _words(text: str) -> list[str]:
    return text.split()


#: https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode
FCM_CODES = _words("""UNSPECIFIED_ERROR INVALID_ARGUMENT UNREGISTERED SENDER_ID_MISMATCH QUOTA_EXCEEDED UNAVAILABLE INTERNAL
THIRD_PARTY_AUTH_ERROR""")
#: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto, without OK
GOOGLE_CODES = _words("""CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED UNAUTHENTICATED
RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS""")
#: https://www.twilio.com/docs/api/errors: those of sending a message, and of a message's status
TWILIO_CODES = [
    *(20001, 20003, 20004, 20005, 20006, 20008, 20010, 20011, 20012, 20403, 20404, 20409, 20410, 20412, 20413, 20422),
    *(20423, 20426, 20429, 20500, 20503, 20504, 21210, 21211, 21212, 21214, 21217, 21219, *range(21264, 21269), 21408),
    *(
        *range(21601, 21613),
        21614,
        *range(21616, 21625),
        21626,
        21627,
        21635,
        *range(21652, 21669),
        *range(21701, 21706),
    ),
    *(21708, 21709, 21711, 21730, 21900, 21901, 21902, 21910, *range(30001, 30025), *range(30027, 30047), 30400, 30404),
    *(30409, 30410, 30450, 30453, 30454, 30485, 35111, 35114, 35118, 35125, 35126, 63001, 63002, 63003),
    *(*range(63005, 63039), 63040, 63041),
]
#: RFC 5321 §4.2.3, RFC 3207, RFC 4954, RFC 7504
SMTP_CODES = _words("421 432 450 451 452 454 455 500 501 502 503 504 521 530 534 535 538 550 551 552 553 554 555 556")
#: https://www.iana.org/assignments/smtp-enhanced-status-codes: the last detail of each subject
LAST_DETAILS = (0, 10, 4, 6, 7, 6, 10, 30)
ENHANCED_CODES = [f"{subject}.{detail}" for subject, last in enumerate(LAST_DETAILS) for detail in range(last + 1)]


def firebase_codes() -> set[str]:
    """What firebase-admin names: codes of its exceptions, of its mappings, and of FCM."""
    named = {value for name, value in vars(exceptions).items() if name.isupper() and isinstance(value, str)}
    mapped = set(chain(_utils._HTTP_STATUS_TO_ERROR_CODE.values(), _utils._RPC_CODE_TO_ERROR_CODE.values()))
    return named | mapped | set(messaging._MessagingService.FCM_ERROR_TYPES)


def test_fcm_has_a_row_for_every_code() -> None:
    assert len(firebase_codes()) > 15
    assert firebase_codes() | {*FCM_CODES, *GOOGLE_CODES} == set(fcm_errors.OUTCOMES)


def test_twilio_has_a_row_for_every_code() -> None:
    assert {str(code) for code in TWILIO_CODES} - set(twilio_errors.OUTCOMES) == set()


def test_smtp_has_a_row_for_every_code() -> None:
    assert set(SMTP_CODES) - set(smtp_errors.OUTCOMES) == set()
    assert set(ENHANCED_CODES) == set(smtp_errors.ENHANCED)
    assert {code for code in smtp_errors.OUTCOMES if code < "5"} == {
        code for code, outcome in smtp_errors.OUTCOMES.items() if outcome is ProviderOutcome.RETRY and code < "5"
    }


@pytest.mark.parametrize("code", sorted({*firebase_codes(), *FCM_CODES, *GOOGLE_CODES}))
@pytest.mark.parametrize("status", [400, 403, 404, 500])
def test_the_row_decides_whatever_the_status(code: str, status: int) -> None:
    body = orjson.dumps({"error": {"status": code}})
    result = fcm_result(HttpResponse(status, None, body))
    assert (result.outcome, result.code, result.unknown_code) == (fcm_errors.OUTCOMES[code], code, False)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        # What is wrong for every recipient is never the end of a delivery.
        *(
            (code, ProviderOutcome.RETRY)
            for code in (20003, 20404, 20429, 21401, 21421, 21606, 21701, 30002, 30034, 63018)
        ),
        *((code, ProviderOutcome.REJECTED) for code in (21214, 21408, 21610, 21612, 21617, 21602, 30007, 30014, 63016)),
        *((code, ProviderOutcome.DEAD_TOKEN) for code in (21211, 21614, 21635, 30005, 30006)),
    ],
)
def test_the_meaning_of_twilios_codes(code: int, outcome: ProviderOutcome) -> None:
    result = twilio_result(HttpResponse(400, None, orjson.dumps({"code": code})))
    assert (result.outcome, result.code, result.unknown_code) == (outcome, str(code), False)


SMTP_REPLIES = [
    (550, "5.1.1 <a@b.example>: no such mailbox", ProviderOutcome.DEAD_TOKEN, "550 5.1.1", False),
    (550, "5.1.1", ProviderOutcome.DEAD_TOKEN, "550 5.1.1", False),
    (550, "5.1.10 null MX", ProviderOutcome.DEAD_TOKEN, "550 5.1.10", False),
    (556, "no mail here", ProviderOutcome.DEAD_TOKEN, "556", False),
    (550, "5.7.1 policy", ProviderOutcome.REJECTED, "550 5.7.1", False),
    # Only what is about our account is retried.
    (550, "5.7.700 no", ProviderOutcome.RETRY, "550 5.7.700", False),
    (550, "5.7.750 no", ProviderOutcome.RETRY, "550 5.7.750", False),
    (550, "5.7.751 no", ProviderOutcome.REJECTED, "550 5.7.751", True),
    (550, "<a@b.example>: Email address is not verified", ProviderOutcome.REJECTED, "550", False),
    (554, "5.0.0 no", ProviderOutcome.REJECTED, "554 5.0.0", False),
    (552, "5.2.2 full", ProviderOutcome.REJECTED, "552 5.2.2", False),
    (550, "no such mailbox", ProviderOutcome.REJECTED, "550", False),
    (550, "5.1.11111 none", ProviderOutcome.REJECTED, "550", False),
    (535, "5.7.8 no", ProviderOutcome.RETRY, "535 5.7.8", False),
    (554, "5.7.8 no", ProviderOutcome.RETRY, "554 5.7.8", False),
    (530, "5.1.1 no", ProviderOutcome.RETRY, "530 5.1.1", False),
    (451, "4.1.1 later", ProviderOutcome.RETRY, "451 4.1.1", False),
    (450, "5.1.1 later", ProviderOutcome.RETRY, "450 5.1.1", False),
    # The first digit of an unknown code counts (RFC 5321 §4.2.1).
    (499, "odd", ProviderOutcome.RETRY, "499", True),
    (599, "odd", ProviderOutcome.REJECTED, "599", True),
    (550, "5.9.9 odd", ProviderOutcome.REJECTED, "550 5.9.9", True),
]


@pytest.mark.parametrize(("code", "text", "outcome", "shown", "unknown"), SMTP_REPLIES)
def test_the_meaning_of_a_mail_servers_reply(
    code: int, text: str, outcome: ProviderOutcome, shown: str, unknown: bool
) -> None:
    result = smtp_result(aiosmtplib.SMTPRecipientRefused(code, text, "a@b.example"), False)
    assert (result.outcome, result.code, result.unknown_code) == (outcome, shown, unknown)


@pytest.mark.parametrize(
    ("code", "text", "is_about_one"),
    [
        (450, "4.2.0 Greylisted", True),
        (450, "4.2.1 gets mails at a rate that prevents more", True),
        (452, "4.2.2 over quota", True),
        (450, "4.1.1 unverified address", True),
        (450, "mailbox busy", True),
        (450, "4.2.1 Peak SMTP relay limit exceeded for this customer", False),
        (450, "4.1.8 sender's domain not found", False),
        (450, "4.7.1 client host rejected", False),
        (451, "4.7.1 greylisting, or a limit for all", False),
        (451, "local error", False),
        (452, "4.3.1 system full", False),
        (421, "4.7.0 too many mails", False),
        (550, "5.1.1 no such user", False),
    ],
)
def test_a_mailbox_that_takes_no_mail_now_says_nothing_about_the_server(
    code: int, text: str, is_about_one: bool
) -> None:
    assert smtp_result(aiosmtplib.SMTPRecipientRefused(code, text, "a@b.example"), False).one_server is is_about_one
    assert smtp_result(aiosmtplib.SMTPDataError(code, text), False).one_server is False
    assert smtp_result(aiosmtplib.SMTPSenderRefused(code, text, "a@b.example"), False).one_server is False


@pytest.mark.parametrize(
    ("reason", "is_about_one"), [("TooManyRequests", True), ("TooManyProviderTokenUpdates", False)]
)
def test_too_many_pushes_to_one_device_say_nothing_about_apns(reason: str, is_about_one: bool) -> None:
    result = apns_result(HttpResponse(429, None, b'{"reason": "%b"}' % reason.encode()), "id")
    assert (result.outcome, result.throttled, result.one_server) == (ProviderOutcome.RETRY, True, is_about_one)


@pytest.mark.parametrize(
    ("result", "outcome", "code"),
    [
        (
            fcm_result(HttpResponse(400, None, b'{"error": {"status": "BRAND_NEW"}}')),
            ProviderOutcome.RETRY,
            "BRAND_NEW",
        ),
        (
            fcm_result(HttpResponse(418, None, b'{"error": {"status": "BRAND_NEW"}}')),
            ProviderOutcome.RETRY,
            "BRAND_NEW",
        ),
        (twilio_result(HttpResponse(400, None, b'{"code": 99999}')), ProviderOutcome.RETRY, "99999"),
        (twilio_result(HttpResponse(413, None, b'{"code": 99999}')), ProviderOutcome.REJECTED, "99999"),
        (smtp_result(aiosmtplib.SMTPDataError(499, ""), False), ProviderOutcome.RETRY, "499"),
    ],
)
def test_an_unknown_code_is_counted(result: ProviderResult, outcome: ProviderOutcome, code: str) -> None:
    counter = metrics.PROVIDER_UNKNOWN_CODES.labels(result.provider)
    before = counter._value.get()
    AnswerCounts().add(result)
    assert (result.outcome, result.code, result.unknown_code) == (outcome, code, True)
    assert counter._value.get() == before + 1
    AnswerCounts().add(fcm_result(HttpResponse(429, None, b'{"error": {"status": "QUOTA_EXCEEDED"}}')))
    AnswerCounts().add(fcm_result(HttpResponse(502, None, b"<html>")))
    assert counter._value.get() == before + 1, "known codes, and replies without one"
