"""Translation of provider responses into outcomes, without the provider's text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import aiosmtplib
import orjson
import pytest

from notify_streams.delivery.attempts import Attempt, Phase, Rank, attempt_document
from notify_streams.delivery.providers.fcm import fcm_result
from notify_streams.delivery.providers.http_responses import HttpResponse, NoResponse, retry_after_s
from notify_streams.delivery.providers.provider import ProviderOutcome, ProviderResult
from notify_streams.delivery.providers.ses import ses_result
from notify_streams.delivery.providers.smtp import smtp_result
from notify_streams.delivery.providers.sns import sns_result
from notify_streams.delivery.providers.twilio import twilio_result

NUMBER = "+12025550100"


def repr_of(value: object) -> str:
    return repr(value)[:16]


def fcm_error(code: str) -> bytes:
    return orjson.dumps({"error": {"status": "X", "message": NUMBER, "details": [{"@type": "t"}, {"errorCode": code}]}})


def twilio_error(code: int) -> bytes:
    return orjson.dumps({"code": code, "message": f"no {NUMBER}"})


@pytest.mark.parametrize(
    ("status", "body", "outcome", "code", "maybe"),
    [
        (200, b'{"name": "projects/p/messages/1"}', ProviderOutcome.ACCEPTED, None, False),
        (200, b"not json", ProviderOutcome.ACCEPTED, None, False),
        (404, fcm_error("UNREGISTERED"), ProviderOutcome.DEAD_TOKEN, "UNREGISTERED", False),
        (404, b"<html>no such project</html>", ProviderOutcome.RETRY, None, False),
        (404, b'{"error": {"status": "NOT_FOUND"}}', ProviderOutcome.RETRY, "NOT_FOUND", False),
        (400, b'{"error": {"status": "FAILED_PRECONDITION"}}', ProviderOutcome.RETRY, "FAILED_PRECONDITION", False),
        (400, fcm_error("INVALID_ARGUMENT"), ProviderOutcome.REJECTED, "INVALID_ARGUMENT", False),
        (403, fcm_error("SENDER_ID_MISMATCH"), ProviderOutcome.REJECTED, "SENDER_ID_MISMATCH", False),
        (403, b'{"error": {"status": "PERMISSION_DENIED"}}', ProviderOutcome.RETRY, "PERMISSION_DENIED", False),
        (403, b"<html>", ProviderOutcome.RETRY, None, False),
        (400, fcm_error(f"no such thing as {NUMBER}"), ProviderOutcome.REJECTED, "400", False),
        (400, b'{"error": "text"}', ProviderOutcome.REJECTED, "400", False),
        (400, b"[]", ProviderOutcome.REJECTED, "400", False),
        (401, fcm_error("THIRD_PARTY_AUTH_ERROR"), ProviderOutcome.RETRY, "THIRD_PARTY_AUTH_ERROR", False),
        (429, fcm_error("QUOTA_EXCEEDED"), ProviderOutcome.RETRY, "QUOTA_EXCEEDED", False),
        (503, fcm_error("UNAVAILABLE"), ProviderOutcome.RETRY, "UNAVAILABLE", True),
        (500, fcm_error("INTERNAL"), ProviderOutcome.RETRY, "INTERNAL", True),
        (502, b"", ProviderOutcome.RETRY, None, True),
        (302, b"", ProviderOutcome.RETRY, None, False),
    ],
)
def test_fcm_responses(status: int, body: bytes, outcome: ProviderOutcome, code: str | None, maybe: bool) -> None:
    result = fcm_result(HttpResponse(status, None, body))
    assert (result.outcome, result.code, result.maybe_accepted) == (outcome, code, maybe)
    assert NUMBER not in repr(result)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("The registration token is not a valid FCM registration token", ProviderOutcome.DEAD_TOKEN),
        ("Invalid data payload key", ProviderOutcome.REJECTED),
        (None, ProviderOutcome.REJECTED),
        (["The registration token is not a valid FCM registration token"], ProviderOutcome.REJECTED),
    ],
)
def test_a_text_that_is_no_token_for_fcm_is_dead(text: Any, outcome: ProviderOutcome) -> None:
    error = orjson.loads(fcm_error("INVALID_ARGUMENT"))["error"] | {"message": text}
    result = fcm_result(HttpResponse(400, None, orjson.dumps({"error": error})))
    assert (result.outcome, result.code) == (outcome, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    ("violations", "outcome"),
    [
        ([{"field": "message.token", "description": "Invalid registration token"}], ProviderOutcome.DEAD_TOKEN),
        ([{"field": "message.data", "description": "Invalid data payload key"}], ProviderOutcome.REJECTED),
        ([{"field": "message.token"}, {"field": "message.data"}], ProviderOutcome.REJECTED),
        ([], ProviderOutcome.REJECTED),
        ("message.token", ProviderOutcome.REJECTED),
        (["message.token", None], ProviderOutcome.REJECTED),
    ],
)
def test_a_violation_of_the_token_alone_is_about_the_token(violations: Any, outcome: ProviderOutcome) -> None:
    error = orjson.loads(fcm_error("INVALID_ARGUMENT"))["error"]
    error["details"].append({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations})
    result = fcm_result(HttpResponse(400, None, orjson.dumps({"error": error})))
    assert (result.outcome, result.code) == (outcome, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    ("code", "is_ours"),
    [("THIRD_PARTY_AUTH_ERROR", False), ("APNS_AUTH_ERROR", False), ("UNAUTHENTICATED", True), (None, True)],
)
def test_a_key_that_firebase_lacks_for_one_platform_is_not_our_token(code: str | None, is_ours: bool) -> None:
    result = fcm_result(HttpResponse(401, None, b"" if code is None else fcm_error(code)))
    assert result.outcome is ProviderOutcome.RETRY
    assert result.credential_refused is is_ours
    assert result.one_server is result.platform_refused is (not is_ours)


@pytest.mark.parametrize(
    ("status", "body", "outcome", "code"),
    [
        (201, b'{"sid": "SM1"}', ProviderOutcome.ACCEPTED, None),
        (400, twilio_error(21211), ProviderOutcome.DEAD_TOKEN, "21211"),
        (400, twilio_error(21610), ProviderOutcome.REJECTED, "21610"),
        (400, twilio_error(21614), ProviderOutcome.DEAD_TOKEN, "21614"),
        (400, twilio_error(21606), ProviderOutcome.RETRY, "21606"),
        (404, twilio_error(20404), ProviderOutcome.RETRY, "20404"),
        (403, twilio_error(20403), ProviderOutcome.RETRY, "20403"),
        (400, b"?", ProviderOutcome.REJECTED, "400"),
        (401, twilio_error(20003), ProviderOutcome.RETRY, "20003"),
        (429, twilio_error(20429), ProviderOutcome.RETRY, "20429"),
        (500, b"[1]", ProviderOutcome.RETRY, None),
        (400, b'{"code": true}', ProviderOutcome.REJECTED, "400"),
    ],
)
def test_twilio_responses(status: int, body: bytes, outcome: ProviderOutcome, code: str | None) -> None:
    result = twilio_result(HttpResponse(status, 3.0, body))
    assert (result.outcome, result.code) == (outcome, code)
    assert result.retry_after_s == (3.0 if outcome is ProviderOutcome.RETRY else None)
    assert NUMBER not in repr(result)


def fcm_id(found: Any) -> ProviderResult:
    return fcm_result(HttpResponse(200, None, orjson.dumps({"name": found})))


def twilio_id(found: Any) -> ProviderResult:
    return twilio_result(HttpResponse(201, None, orjson.dumps({"sid": found})))


def ses_id(found: Any) -> ProviderResult:
    return ses_result({"MessageId": found})


def sns_id(found: Any) -> ProviderResult:
    return sns_result({"MessageId": found})


@pytest.mark.parametrize("result_of", [fcm_id, twilio_id, ses_id, sns_id])
@pytest.mark.parametrize("found", ["x" * 1_000_000, f"sent to {NUMBER}", "a\0b", "", 7, ["x"], None], ids=repr_of)
def test_an_accepted_message_keeps_no_id_that_is_none(result_of: Callable[[Any], ProviderResult], found: Any) -> None:
    """It is stored with the attempt: one that is too long, or no text, would end the settling of all others."""
    result = result_of(found)
    assert (result.outcome, result.provider_id) == (ProviderOutcome.ACCEPTED, None)
    attempt = Attempt(Rank.SENT, 1, None, result.provider, result.provider_id)
    assert len(attempt_document(b"k" * 16, 0, 1, Phase.CALL, b"own", attempt)["p"]) < 64
    assert result_of("projects/a-b/messages/0:1700000000000000%0123456789abcdef").provider_id is not None


@pytest.mark.parametrize(
    ("error", "begun", "outcome", "maybe"),
    [
        (
            aiosmtplib.SMTPRecipientRefused(550, "no a@example.org", "a@example.org"),
            False,
            ProviderOutcome.REJECTED,
            False,
        ),
        (aiosmtplib.SMTPRecipientRefused(550, "5.1.1 a@example.org", ""), False, ProviderOutcome.DEAD_TOKEN, False),
        (aiosmtplib.SMTPSenderRefused(553, "5.1.3 a@example.org", ""), False, ProviderOutcome.RETRY, False),
        (aiosmtplib.SMTPSenderRefused(550, "5.7.1 a@example.org", ""), False, ProviderOutcome.RETRY, False),
        (aiosmtplib.SMTPSenderRefused(552, "5.3.4 too big", ""), False, ProviderOutcome.REJECTED, False),
        (aiosmtplib.SMTPRecipientRefused(450, "greylisted", "a@example.org"), False, ProviderOutcome.RETRY, False),
        (aiosmtplib.SMTPDataError(554, "spam"), True, ProviderOutcome.REJECTED, False),
        (aiosmtplib.SMTPDataError(451, "later"), True, ProviderOutcome.RETRY, False),
        (aiosmtplib.SMTPAuthenticationError(535, "no"), False, ProviderOutcome.RETRY, False),
        (aiosmtplib.SMTPSenderRefused(530, "log in", "from@example.org"), False, ProviderOutcome.RETRY, False),
        (aiosmtplib.SMTPServerDisconnected("gone"), True, ProviderOutcome.RETRY, True),
        (aiosmtplib.SMTPServerDisconnected("gone"), False, ProviderOutcome.RETRY, False),
        (TimeoutError(), True, ProviderOutcome.RETRY, True),
        (ConnectionRefusedError("a@example.org"), False, ProviderOutcome.RETRY, False),
    ],
)
def test_smtp_errors(error: Exception, begun: bool, outcome: ProviderOutcome, maybe: bool) -> None:
    result = smtp_result(error, begun)
    assert (result.outcome, result.maybe_accepted) == (outcome, maybe)
    assert "example.org" not in repr(result)


@pytest.mark.parametrize(
    ("error", "credential_refused"),
    [
        (aiosmtplib.SMTPConnectResponseError(550, "5.1.1 no"), False),
        (aiosmtplib.SMTPConnectResponseError(554, "go away"), False),
        (aiosmtplib.SMTPHeloError(501, "no"), False),
        (aiosmtplib.SMTPResponseException(502, "STARTTLS"), False),
        (aiosmtplib.SMTPAuthenticationError(454, "later"), False),
        (aiosmtplib.SMTPAuthenticationError(504, "5.5.4 mechanism"), True),
        (aiosmtplib.SMTPAuthenticationError(550, "5.1.1 blocked"), True),
    ],
)
def test_a_refusal_before_a_mail_ends_no_delivery(error: Exception, credential_refused: bool) -> None:
    result = smtp_result(error, content_begun=False, begun=False, connecting=True)
    assert (result.outcome, result.credential_refused) == (ProviderOutcome.RETRY, credential_refused)


@pytest.mark.parametrize("result_of", [fcm_result, twilio_result])
@pytest.mark.parametrize("maybe", [True, False])
def test_no_response_is_a_retry(result_of: Any, maybe: bool) -> None:
    result = result_of(NoResponse("TimeoutError", maybe))
    assert (result.outcome, result.maybe_accepted) == (ProviderOutcome.RETRY, maybe)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("3", 3.0),
        ("0.5", 0.5),
        ("-4", None),
        ("1e306", None),
        ("1_000", None),
        ("9" * 306, 30 * 86_400.0),
        ("9" * 400, 30 * 86_400.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 30 * 86_400.0),
        ("inf", None),
        ("nan", None),
        ("soon", None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 59.0),
        ("Fri, 31 Dec 1999 23:00:00 GMT", 0.0),
    ],
)
def test_both_forms_of_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, now=946684740.0) == seconds


@pytest.mark.parametrize("text", ["A" * 65, "ÄÖ", "+491711234567", "a person"])
def test_a_code_of_fcm_is_a_short_word(text: str) -> None:
    body = orjson.dumps({"error": {"status": text}})
    assert fcm_result(HttpResponse(400, None, body)).code == "400"
