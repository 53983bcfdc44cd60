"""SMS by Twilio.

`POST /2010-04-01/Accounts/{sid}/Messages.json`, a form with basic authentication.
Fields: https://www.twilio.com/docs/messaging/api/message-resource; codes: https://www.twilio.com/docs/api/errors.
"""

from __future__ import annotations

import re
import time
from base64 import b64encode
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec

from notify_streams.delivery.providers.config import ProviderConfig
from notify_streams.delivery.providers.credential_files import CredentialFiles
from notify_streams.delivery.providers.delivery_metadata import delivery_metadata, with_trace
from notify_streams.delivery.providers.http_client import HttpClient
from notify_streams.delivery.providers.http_responses import HttpResponse, NoResponse, error_result, no_response_result
from notify_streams.delivery.providers.provider import (
    Outgoing,
    ProviderOutcome,
    ProviderResult,
    message_id_in,
    unsendable,
)
from notify_streams.delivery.providers.sms import SmsSize, sms_size, sms_text, too_many_segments
from notify_streams.delivery.providers.ttl import ttl_s
from notify_streams.delivery.providers.twilio_errors import OUTCOMES
from notify_streams.records.addresses import is_phone_number

#: the longest ValidityPeriod
_MAX_TTL_S = 36_000
#: Characters (error 21617). Its description says that one outside GSM-7 may count as several, so units of the encoding are counted.
_MAX_BODY = 1_600
#: The id of a messaging service; other senders may begin with the same letters.
_SERVICE = re.compile(r"MG[0-9a-fA-F]{32}")
#: fields of `ProviderConfig`
_LOGIN = ("twilio_auth_token", "twilio_api_key_sid", "twilio_api_key_secret")


class Twilio:
    """See `Provider`. A number that unsubscribed (21610) is REJECTED with that code, one that takes no SMS is DEAD_TOKEN.

    The delivery metadata is in the query of the status callback, so each report contains it.
    """

    name = "twilio"

    def __init__(self, config: ProviderConfig) -> None:
        self.max_in_flight = config.max_in_flight
        self._url = f"{config.twilio.rstrip('/')}/2010-04-01/Accounts/{config.twilio_account_sid}/Messages.json"
        self._use(twilio_headers(config))
        self._files = CredentialFiles(self.name, config, _LOGIN, twilio_headers, self._use)
        self._from = config.twilio_sender
        self._callback = config.twilio_status_callback
        self._max_segments = config.max_sms_segments
        self._http = HttpClient(config)

    async def start(self) -> None:
        await self._http.start(self._url)
        await self._files.start()

    async def close(self) -> None:
        await self._files.close()
        await self._http.close()

    async def send(self, message: Outgoing) -> ProviderResult:
        if not is_phone_number(message.to) or message.to == self._from:
            return unsendable(self.name, ProviderOutcome.BAD_ADDRESS, "no E.164 number, or our own")
        form = twilio_form(message, self._from, self._callback, time.time_ns() // 1_000_000)
        if not form["Body"].strip():
            return unsendable(self.name, ProviderOutcome.RENDERING, "the text is empty")
        size = sms_size(form["Body"])
        if problem := self._too_large(size):
            return unsendable(self.name, ProviderOutcome.TOO_LARGE, problem, segments=size.segments)
        response = await self._http.post(self._url, with_trace(self._headers, message), urlencode(form).encode())
        return msgspec.structs.replace(twilio_result(response), segments=size.segments)

    def _too_large(self, size: SmsSize) -> str | None:
        if problem := too_many_segments(size, self._max_segments):
            return problem
        if size.units > _MAX_BODY:
            return f"{size.units} characters in {size.encoding}, Twilio takes {_MAX_BODY}"
        return None

    def _use(self, headers: dict[str, str]) -> None:
        self._headers = headers


def twilio_headers(config: ProviderConfig) -> dict[str, str]:
    """The log-in is basic authentication by the account's token, or by an API key."""
    user = config.twilio_account_sid if config.twilio_api_key_sid is None else config.twilio_api_key_sid.reveal()
    login = b64encode(f"{user}:{config.twilio_secret.reveal()}".encode()).decode()
    return {"Authorization": f"Basic {login}", "Content-Type": "application/x-www-form-urlencoded"}


def twilio_form(message: Outgoing, sender: str, callback: str | None, now_ms: int) -> dict[str, str]:
    """The form's fields. `sender` is a number or a messaging service's id; without `callback` there are no status reports."""
    form = {
        "To": message.to,
        "MessagingServiceSid" if _SERVICE.fullmatch(sender) else "From": sender,
        "Body": sms_text(message),
    }
    if callback is not None:
        url = urlsplit(callback)
        query = "&".join(part for part in (url.query, urlencode(delivery_metadata(message))) if part)
        form["StatusCallback"] = urlunsplit(url._replace(query=query))
    if (validity_s := ttl_s(message.expires_at_ms, now_ms, _MAX_TTL_S)) is not None:
        form["ValidityPeriod"] = str(max(1, validity_s))
    return form


def twilio_result(response: HttpResponse | NoResponse) -> ProviderResult:
    """The result that a response stands for."""
    if isinstance(response, NoResponse):
        return no_response_result(Twilio.name, response)
    content = response.json_object()
    if 200 <= response.status < 300:
        return ProviderResult(
            outcome=ProviderOutcome.ACCEPTED,
            provider=Twilio.name,
            provider_id=message_id_in(content.get("sid")),
            detail=f"HTTP {response.status}",
        )
    code = content.get("code")
    return error_result(Twilio.name, response, str(code) if type(code) is int else None, OUTCOMES)
