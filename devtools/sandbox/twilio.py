"""Twilio's message resource, server side: reads requests, builds responses.

Source: https://www.twilio.com/docs/messaging/api/message-resource and https://www.twilio.com/docs/api/errors.
"""

from __future__ import annotations

import binascii
import re
import secrets
from base64 import b64decode
from urllib.parse import parse_qsl, urlsplit

from devtools.sandbox.fault_injection import Failure
from devtools.sandbox.messages import HttpReply, IncomingMessage

_E164 = re.compile(r"\+[1-9]\d{5,14}")
#: A number, a short code or an alphanumeric sender id.
_SENDER = re.compile(r"\+[1-9]\d{5,14}|\d{3,8}|(?=.*[A-Za-z])[A-Za-z0-9 +&_-]{1,11}")
_SERVICE = re.compile(r"MG[0-9a-fA-F]{32}")
_CALLBACK = re.compile(r"https?://[A-Za-z0-9.-]+(:\d+)?(/[!-~]*)?")
_LONGEST_CALLBACK = 4000
_LONGEST_BODY = 1600
_LONGEST_VALIDITY_S = 36_000
_CODE = {400: 21618, 401: 20003, 403: 20403, 404: 20404, 429: 20429, 500: 20500, 503: 20503}


def read(at: float, sid: str, authorization: str | None, body: bytes) -> IncomingMessage | HttpReply:
    """The message of a form, or the error response that Twilio would send. The callback URL's query is the metadata."""
    if _login(authorization) != sid:
        return error(401, 20003)
    try:
        form = dict(parse_qsl(body.decode("ascii"), keep_blank_values=True))
    except UnicodeDecodeError:
        return error(400, 21602)
    if problem := _problem(form):
        return error(400, *problem)
    callback = urlsplit(form.get("StatusCallback", ""))
    return IncomingMessage(at, "twilio", "sms", form["To"], dict(parse_qsl(callback.query)), body)


def account(sid: str, authorization: str | None) -> HttpReply:
    """The account resource: https://www.twilio.com/docs/iam/api/account"""
    if _login(authorization) != sid:
        return error(401, 20003)
    return HttpReply(200, {"sid": sid, "status": "active", "type": "Full"})


def _problem(form: dict[str, str]) -> tuple[int, str] | None:
    """Twilio's code and text for the first thing that is wrong with a form."""
    to, sender, service = form.get("To", ""), form.get("From"), form.get("MessagingServiceSid")
    body, callback, validity = form.get("Body", ""), form.get("StatusCallback"), form.get("ValidityPeriod", "1")
    if not to:
        return 21604, "A 'To' phone number is required."
    if not _E164.fullmatch(to):
        return 21211, f"The 'To' number {to} is not a valid phone number."
    if not (sender or service):
        return 21603, "A 'From' phone number is required."
    if sender and not _SENDER.fullmatch(sender):
        return 21212, f"The 'From' number {sender} is not a valid phone number, shortcode, or alphanumeric sender ID."
    if service and not _SERVICE.fullmatch(service):
        return 21701, "The Messaging Service does not exist."
    if to == sender:
        return 21266, "'To' and 'From' number cannot be the same."
    if not body.strip():
        return 21602, "Message body is required."
    # "Some special characters will be counted as multiple characters": https://www.twilio.com/docs/api/errors/21617
    if len(body.encode("utf-16-le")) // 2 > _LONGEST_BODY:
        return 21617, "The concatenated message body exceeds the 1600 character limit."
    if callback is not None and not (len(callback) <= _LONGEST_CALLBACK and _CALLBACK.fullmatch(callback)):
        return 21609, "The 'StatusCallback' URL is not a valid URL."
    if not (validity.isdecimal() and 1 <= int(validity[:6]) <= _LONGEST_VALIDITY_S):
        return 21624, "Invalid validity period value"
    return None


def accepted() -> HttpReply:
    return HttpReply(201, {"sid": f"SM{secrets.token_hex(16)}", "status": "queued", "error_code": None})


def dead(number: str) -> HttpReply:
    """The recipient has replied STOP."""
    return error(400, 21610, f"Attempt to send to unsubscribed recipient {number}")


def failed(failure: Failure) -> HttpReply:
    code = int(failure.code) if failure.code and failure.code.isdecimal() else _CODE.get(failure.status, 30008)
    return error(failure.status, code, retry_after_s=failure.retry_after_s)


def error(
    status: int, code: int, text: str = "refused by the sandbox", retry_after_s: float | None = None
) -> HttpReply:
    """An error in Twilio's form; as there, the text may contain the number."""
    more = f"https://www.twilio.com/docs/errors/{code}"
    return HttpReply(status, {"code": code, "message": text, "more_info": more, "status": status}, retry_after_s)


def _login(authorization: str | None) -> str | None:
    scheme, _, encoded = (authorization or "").partition(" ")
    try:
        user, colon, password = b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return user if scheme == "Basic" and colon and password else None
