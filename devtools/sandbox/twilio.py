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

_E164 = re.compile(r"\+[1-9]\d{6,14}")
_LONGEST_BODY = 1600
_CODE = {401: 20003, 404: 20404, 429: 20429, 500: 20500, 503: 20503}


def read(at: float, sid: str, authorization: str | None, body: bytes) -> IncomingMessage | HttpReply:
    """The message of a form, or the error response that Twilio would send. The callback URL's query is the metadata."""
    if _login(authorization) != sid:
        return error(401, 20003)
    try:
        form = dict(parse_qsl(body.decode("ascii"), keep_blank_values=True))
    except UnicodeDecodeError:
        return error(400, 21602)
    if not _E164.fullmatch(form.get("To", "")):
        return error(400, 21211, f"The 'To' number {form.get('To')} is not a valid phone number.")
    if not (form.get("From") or form.get("MessagingServiceSid")):
        return error(400, 21603)
    if not form.get("Body"):
        return error(400, 21602)
    if len(form["Body"]) > _LONGEST_BODY:
        return error(400, 21617)
    return IncomingMessage(
        at, "twilio", "sms", form["To"], dict(parse_qsl(urlsplit(form.get("StatusCallback", "")).query))
    )


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
