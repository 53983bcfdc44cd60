"""Push by Firebase Cloud Messaging, HTTP v1: `POST /v1/projects/{project}/messages:send`.

Shapes and codes: https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages and …/v1/ErrorCode.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson

from notify_streams.delivery.providers.config import ProviderConfig
from notify_streams.delivery.providers.delivery_metadata import delivery_metadata
from notify_streams.delivery.providers.http_client import HttpClient
from notify_streams.delivery.providers.http_responses import HttpResponse, NoResponse, error_result, no_response_result
from notify_streams.delivery.providers.provider import Outgoing, ProviderOutcome, ProviderResult
from notify_streams.delivery.providers.ttl import ttl_s

#: FCM keeps a message four weeks at most
_LONGEST_S = 4 * 7 * 24 * 3600


class Fcm:
    """See `Provider`. An UNREGISTERED token is DEAD_TOKEN."""

    name = "fcm"

    def __init__(self, config: ProviderConfig) -> None:
        self.max_in_flight = config.max_in_flight
        self._url = f"{config.fcm.rstrip('/')}/v1/projects/{config.fcm_project}/messages:send"
        self._token = config.fcm_token
        self._start_within_s = config.start_within_s
        self._calls = HttpClient(config)

    async def start(self) -> None:
        await self._calls.start()

    async def close(self) -> None:
        await self._calls.close()

    async def send(self, message: Outgoing) -> ProviderResult:
        try:
            async with asyncio.timeout(self._start_within_s):
                token = await self._token()
        except Exception as trouble:  # whatever the token's source raises, nothing was sent
            return no_response_result(self.name, NoResponse(f"no access token: {type(trouble).__name__}", begun=False))
        answer = await self._calls.post(
            self._url,
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            orjson.dumps(fcm_request(message, time.time_ns() // 1_000_000)),
        )
        return fcm_result(answer)


def fcm_request(message: Outgoing, now_ms: int) -> dict[str, Any]:
    """The body of the call. The marks of the delivery win over the application's data of the same name."""
    notification = {"body": message.body}
    if message.title is not None:
        notification["title"] = message.title
    android: dict[str, Any] = {"priority": "HIGH" if message.critical else "NORMAL"}
    if (ttl := ttl_s(message.expires_at_ms, now_ms, _LONGEST_S)) is not None:
        android["ttl"] = f"{ttl}s"
    if message.collapse_key is not None:
        android["collapse_key"] = message.collapse_key
    data = {_key(key): _text(value) for key, value in (message.data or {}).items()}
    data.update(delivery_metadata(message))
    return {"message": {"token": message.to, "notification": notification, "data": data, "android": android}}


def fcm_result(answer: HttpResponse | NoResponse) -> ProviderResult:
    """What an answer means."""
    if isinstance(answer, NoResponse):
        return no_response_result(Fcm.name, answer)
    said = _object(answer.body)
    if 200 <= answer.status < 300:
        name = said.get("name")
        return ProviderResult(
            outcome=ProviderOutcome.ACCEPTED,
            provider=Fcm.name,
            provider_id=name if isinstance(name, str) else None,
            detail=f"HTTP {answer.status}",
        )
    code = _code(said)
    if code == "UNREGISTERED":
        return ProviderResult(
            outcome=ProviderOutcome.DEAD_TOKEN,
            provider=Fcm.name,
            detail=f"HTTP {answer.status}, code {code}",
            code=code,
        )
    return error_result(Fcm.name, answer, code)


def _key(name: str) -> str:
    # FCM refuses the whole message for one of its own words among the keys.
    if name in ("from", "message_type") or name.startswith(("google", "gcm")):
        return f"data_{name}"
    return name


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()


def _object(body: bytes) -> dict[str, Any]:
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def _code(said: dict[str, Any]) -> str | None:
    error = said.get("error")
    if not isinstance(error, dict):
        return None
    details = error.get("details")
    found = [d.get("errorCode") for d in details if isinstance(d, dict)] if isinstance(details, list) else []
    code = next((code for code in found if code), error.get("status"))
    # A code is an upper-case word; anything else is text, which may name a contact.
    return code if isinstance(code, str) and code.replace("_", "").isalnum() and code.isupper() else None
