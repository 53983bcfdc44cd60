"""Translates HTTP responses of providers into results."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any

import msgspec
import orjson

from notify_streams.delivery.providers.provider import ProviderOutcome, ProviderResult

#: 401, 403: our credential is wrong, not the message
_RETRIED = frozenset({401, 403, 408, 425, 429})


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


class NoResponse(msgspec.Struct, frozen=True):
    """A network error or a timeout."""

    #: the type of the error; never an address
    error: str
    #: the request was started, so the provider may have accepted it
    begun: bool


def retry_after_s(header: str | None, now: float) -> float | None:
    """Seconds to wait, from either form of `Retry-After` (RFC 9110 §10.2.3); None if absent or invalid."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            when = parsedate_to_datetime(header)
        except (ValueError, OverflowError):
            return None
        seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now
    return max(0.0, seconds) if isfinite(seconds) else None


def error_result(provider: str, response: HttpResponse, code: str | None) -> ProviderResult:
    """RETRY or REJECTED, for a status other than 2xx. `code` is the provider's own error code."""
    status = response.status
    detail = f"HTTP {status}" if code is None else f"HTTP {status}, code {code}"
    if status >= 500 or status in _RETRIED or status < 400:
        return ProviderResult(
            outcome=ProviderOutcome.RETRY,
            provider=provider,
            detail=detail,
            code=code,
            retry_after_s=response.retry_after_s,
            throttled=status == 429,
            maybe_accepted=status >= 500,
        )
    return ProviderResult(outcome=ProviderOutcome.REJECTED, provider=provider, detail=detail, code=code or str(status))


def no_response_result(provider: str, response: NoResponse) -> ProviderResult:
    """RETRY."""
    return ProviderResult(
        outcome=ProviderOutcome.RETRY,
        provider=provider,
        detail=response.error,
        maybe_accepted=response.begun,
        begun=response.begun,
    )
