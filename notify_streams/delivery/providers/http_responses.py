"""Translates HTTP responses of providers into results."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final

import msgspec
import orjson

from notify_streams.delivery.providers.provider import ProviderOutcome, ProviderResult

#: statuses about the message, if the reply names a code without a row in the provider's table
_ABOUT_MESSAGE = frozenset({413, 422})
#: the same, if the reply names no code: 400 may then be a refusal of its form by a proxy or the API's front
_ABOUT_REQUEST = _ABOUT_MESSAGE | {400}
#: statuses about our credential, not about the message
_ABOUT_CREDENTIAL = frozenset({401, 403})
#: The first form of `Retry-After`; some servers add a fraction.
_SECONDS: Final = re.compile(r"[0-9]+(\.[0-9]+)?")
#: Longer than any message is kept. A push subscription names its server, so times must stay in the range of a date.
_LONGEST_S: Final = 30 * 86_400.0


class HttpResponse(msgspec.Struct, frozen=True):
    """A response of the provider."""

    status: int
    retry_after_s: float | None
    body: bytes
    #: lower-case name → value, of those that a provider's error code may be in
    headers: Mapping[str, str] = {}

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object; empty if it is not one."""
        try:
            content = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return content if isinstance(content, dict) else {}


#: Of a call that waited for a connection. One may be there in a moment.
NO_CONNECTION: Final = "NoConnection"
#: The same, after a connection could not be opened in time.
CONNECT_TIMEOUT: Final = "ConnectTimeout"


class NoResponse(msgspec.Struct, frozen=True):
    """A network error or a timeout."""

    #: the type of the error; never an address
    error: str
    #: the request was started, so the provider may have accepted it
    begun: bool


def retry_after_s(header: str | None, now: float) -> float | None:
    """Seconds to wait, from either form of `Retry-After` (RFC 9110 §10.2.3), at most 30 days; None if absent or invalid."""
    if not header:
        return None
    if _SECONDS.fullmatch(header):
        seconds = float(header)
    else:
        try:
            when = parsedate_to_datetime(header)
            seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return min(max(0.0, seconds), _LONGEST_S)


def error_result(
    provider: str, response: HttpResponse, code: str | None, outcomes: Mapping[str, ProviderOutcome]
) -> ProviderResult:
    """The result for a status other than 2xx. `code` is the provider's own error code, `outcomes` the table of those it documents.

    A code that is not in the table, and a reply without a code, are RETRY unless the status is about the message.
    """
    status = response.status
    detail = f"HTTP {status}" if code is None else f"HTTP {status}, code {code}"
    outcome = None if code is None else outcomes.get(code)
    is_unknown = code is not None and outcome is None
    if outcome is None:
        about_message = status in (_ABOUT_REQUEST if code is None else _ABOUT_MESSAGE)
        outcome = ProviderOutcome.REJECTED if about_message else ProviderOutcome.RETRY
    if outcome is ProviderOutcome.RETRY:
        return ProviderResult(
            outcome=outcome,
            provider=provider,
            detail=detail,
            code=code,
            retry_after_s=response.retry_after_s,
            throttled=status == 429,
            credential_refused=status in _ABOUT_CREDENTIAL,
            maybe_accepted=status >= 500,
            unknown_code=is_unknown,
        )
    return ProviderResult(
        outcome=outcome, provider=provider, detail=detail, code=code or str(status), unknown_code=is_unknown
    )


def no_response_result(provider: str, response: NoResponse) -> ProviderResult:
    """RETRY."""
    return ProviderResult(
        outcome=ProviderOutcome.RETRY,
        provider=provider,
        detail=response.error,
        maybe_accepted=response.begun,
        begun=response.begun,
        not_ready=response.error == NO_CONNECTION,
    )
