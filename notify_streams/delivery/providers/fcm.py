"""Push by Firebase Cloud Messaging, HTTP v1.

`POST /v1/projects/{project}/messages:send`.
Requests and error codes: https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages and …/v1/ErrorCode.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import msgspec
import orjson

from notify_streams.delivery.providers.config import ProviderConfig
from notify_streams.delivery.providers.delivery_metadata import delivery_metadata, with_trace
from notify_streams.delivery.providers.fcm_errors import OUTCOMES
from notify_streams.delivery.providers.http_client import HttpClient
from notify_streams.delivery.providers.http_responses import HttpResponse, NoResponse, error_result, no_response_result
from notify_streams.delivery.providers.provider import (
    Outgoing,
    ProviderOutcome,
    ProviderResult,
    message_id_in,
    unsendable,
)
from notify_streams.delivery.providers.push_headers import apns_headers, web_push_headers
from notify_streams.delivery.providers.service_account import NoToken, ServiceAccountToken
from notify_streams.delivery.providers.ttl import ttl_s
from notify_streams.records.addresses import is_push_token

#: FCM stores a message for at most four weeks
_MAX_TTL_S = 4 * 7 * 24 * 3600
#: bytes of the keys and values of notification and data together
#: (https://firebase.google.com/docs/cloud-messaging/customize-messages/set-message-type)
_MAX_PAYLOAD = 4096
#: A token is used so long before its source is asked again, which must not return one that expires sooner.
_TOKEN_USED_S = 1.0
#: A call that waited longer for a token is not made: the checks before it would be too old.
_AT_ONCE_S = 0.02
_UNAUTHORIZED = 401
#: The key that Firebase has for APNs or for web push is missing or invalid.
_OF_ONE_PLATFORM = frozenset(("THIRD_PARTY_AUTH_ERROR", "APNS_AUTH_ERROR"))
#: INVALID_ARGUMENT may be about any part of a message. About the token, which is none or not any more, it has this text, or names the field
#: (https://firebase.google.com/docs/cloud-messaging/manage-tokens, firebase/firebase-admin-java#1064, bloomberg/pushiko).
_NO_TOKEN = "The registration token is not a valid FCM registration token"
_TOKEN_FIELD = "message.token"
_INVALID_ARGUMENT = "INVALID_ARGUMENT"
_CODE = re.compile(r"[A-Z][A-Z0-9_]{1,63}")


class Fcm:
    """See `Provider`. An UNREGISTERED token is DEAD_TOKEN."""

    name = "fcm"

    def __init__(self, config: ProviderConfig) -> None:
        self.max_in_flight = config.max_in_flight
        self._account = None if config.fcm_service_account is None else ServiceAccountToken(config)
        self._token = config.fcm_token if self._account is None else self._account
        project = config.fcm_project if self._account is None else self._account.project
        self._url = send_url(config, project)
        self._headers: dict[str, str] = {}
        #: The token source is asked again then (monotonic).
        self._ask_at = 0.0
        self._start_within_s = config.start_within_s
        self._http = HttpClient(msgspec.structs.replace(config, timeout_s=config.fcm_timeout_s))

    async def start(self) -> None:
        await self._http.start(self._url)
        if self._account is not None:
            await self._account.start()

    async def close(self) -> None:
        if self._account is not None:
            await self._account.close()
        await self._http.close()

    async def send(self, message: Outgoing) -> ProviderResult:
        if not is_push_token(message.to):
            return unsendable(self.name, ProviderOutcome.BAD_ADDRESS, "no registration token")
        request = fcm_request(message, time.time_ns() // 1_000_000)
        body = orjson.dumps(request)
        # The body has every byte that counts, and more: most messages need no exact count.
        if len(body) > _MAX_PAYLOAD and (size := payload_bytes(request)) > _MAX_PAYLOAD:
            return unsendable(self.name, ProviderOutcome.TOO_LARGE, f"{size} bytes, FCM takes {_MAX_PAYLOAD}")
        if (began := time.monotonic()) >= self._ask_at:
            try:
                await self._ask_for_token()
            except Exception as error:  # of any type: the token source is configured; nothing was sent
                detail = "no access token" if isinstance(error, NoToken) else f"no access token: {type(error).__name__}"
                return ProviderResult(
                    outcome=ProviderOutcome.RETRY,
                    provider=self.name,
                    detail=detail,
                    credential_refused=True,
                    begun=False,
                    not_ready=isinstance(error, TimeoutError),
                )
            if time.monotonic() - began > _AT_ONCE_S:
                return ProviderResult(
                    outcome=ProviderOutcome.RETRY,
                    provider=self.name,
                    detail="new access token",
                    begun=False,
                    not_ready=True,
                )
        response = await self._http.post(self._url, with_trace(self._headers, message), body)
        result = fcm_result(response)
        if isinstance(response, HttpResponse) and response.status == _UNAUTHORIZED and result.credential_refused:
            self._ask_at = 0.0
            if self._account is not None:
                self._account.refused()
        return result

    async def _ask_for_token(self) -> None:
        now = time.monotonic()
        async with asyncio.timeout(self._start_within_s):
            token = await self._token()
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._ask_at = now + _TOKEN_USED_S


def send_url(config: ProviderConfig, project: str) -> str:
    """The URL of `messages:send`."""
    return f"{config.fcm.rstrip('/')}/v1/projects/{project}/messages:send"


def fcm_request(message: Outgoing, now_ms: int) -> dict[str, Any]:
    """The request body. The router refuses data whose names are reserved for FCM or for the delivery metadata."""
    notification = {"body": message.body}
    if message.title is not None:
        notification["title"] = message.title
    android: dict[str, Any] = {"priority": "HIGH" if message.critical else "NORMAL"}
    if (ttl := ttl_s(message.expires_at_ms, now_ms, _MAX_TTL_S)) is not None:
        android["ttl"] = f"{ttl}s"
    if message.collapse_key is not None:
        android["collapseKey"] = message.collapse_key
    data = {key: _text(value) for key, value in (message.data or {}).items()} | delivery_metadata(message)
    return {
        "message": {
            "token": message.to,
            "notification": notification,
            "data": data,
            # Which of them counts depends on the token, which does not tell.
            "android": android,
            "apns": {"headers": apns_headers(message, now_ms)},
            "webpush": {"headers": web_push_headers(message, now_ms)},
        }
    }


def payload_bytes(request: dict[str, Any]) -> int:
    """What FCM counts of a request."""
    message = request["message"]
    return sum(
        len(name.encode()) + len(text.encode())
        for part in (message["notification"], message["data"])
        for name, text in part.items()
    )


def fcm_result(response: HttpResponse | NoResponse) -> ProviderResult:
    """The result that a response stands for."""
    if isinstance(response, NoResponse):
        return no_response_result(Fcm.name, response)
    content = response.json_object()
    if 200 <= response.status < 300:
        return ProviderResult(
            outcome=ProviderOutcome.ACCEPTED,
            provider=Fcm.name,
            provider_id=message_id_in(content.get("name")),
            detail=f"HTTP {response.status}",
        )
    result = error_result(Fcm.name, response, fcm_code(content), OUTCOMES)
    if result.code == _INVALID_ARGUMENT and _is_about_token(content["error"]):
        return msgspec.structs.replace(result, outcome=ProviderOutcome.DEAD_TOKEN)
    if result.code not in _OF_ONE_PLATFORM:
        return result
    # FCM takes our token, and the messages to other platforms.
    return msgspec.structs.replace(result, credential_refused=False, platform_refused=True, one_server=True)


def _is_about_token(error: dict[str, Any]) -> bool:
    if error.get("message") == _NO_TOKEN:
        return True
    details = error.get("details")
    violations = [d.get("fieldViolations") for d in details if isinstance(d, dict)] if isinstance(details, list) else []
    fields = [
        one.get("field") for some in violations if isinstance(some, list) for one in some if isinstance(one, dict)
    ]
    return fields == [_TOKEN_FIELD]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()


def fcm_code(content: dict[str, Any]) -> str | None:
    """FCM's own code in an error reply, else the status word of Google's APIs."""
    error = content.get("error")
    if not isinstance(error, dict):
        return None
    details = error.get("details")
    found = [d.get("errorCode") for d in details if isinstance(d, dict)] if isinstance(details, list) else []
    code = next((code for code in found if code), error.get("status"))
    # A code is an upper-case word. Other text may contain a contact.
    return code if isinstance(code, str) and _CODE.fullmatch(code) else None
