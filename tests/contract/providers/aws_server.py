"""Clients of SES and SNS for a server on this machine, and AWS's responses."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

import orjson

from notify_streams.delivery.providers import ProviderConfig
from notify_streams.secret import Secret

KEY_ID = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
REGION = "eu-west-1"
CHANNELS = {"ses": "email", "sns": "sms"}


def config_of(port: int, **but: Any) -> ProviderConfig:
    """Both channels by AWS, at a server on `port`."""
    fields = {
        "fcm": "http://f",
        "twilio": "http://t",
        "smtp": "smtp://s",
        "sms_provider": "sns",
        "email_provider": "ses",
        "mail_sender": "notify@example.org",
        "aws_region": REGION,
        "aws_endpoint": f"http://127.0.0.1:{port}",
        "aws_access_key_id": Secret(KEY_ID),
        "aws_secret_access_key": Secret(SECRET),
        "warm_connections": 0,
        "start_within_s": 5.0,
    }
    return ProviderConfig(**{**fields, **but})


def response(status: int, body: bytes, *headers: str) -> bytes:
    lines = "".join(f"{line}\r\n" for line in headers)
    return f"HTTP/1.1 {status} Reason\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def accepted(name: str) -> bytes:
    """The response to an accepted message, whose id is ``id-1``."""
    if name == "ses":
        return response(200, b'{"MessageId":"id-1"}', "Content-Type: application/json")
    return response(
        200,
        b'<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult><MessageId>id-1</MessageId>'
        b"</PublishResult><ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></PublishResponse>",
        "Content-Type: text/xml",
    )


def refused(name: str, status: int, code: str, text: str, *headers: str) -> bytes:
    """An error response in the form of the service."""
    if name == "ses":
        return response(status, orjson.dumps({"message": text}), f"x-amzn-ErrorType: {code}", *headers)
    body = (
        '<ErrorResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><Error><Type>Sender</Type>'
        f"<Code>{escape(code)}</Code><Message>{escape(text)}</Message></Error><RequestId>r-1</RequestId></ErrorResponse>"
    )
    return response(status, body.encode(), "Content-Type: text/xml", *headers)
