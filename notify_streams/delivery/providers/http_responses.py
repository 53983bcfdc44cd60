"""What an HTTP provider's status means to us. Pure: status and headers in, `ProviderResult` out, no text of the provider's."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from math import isfinite

import msgspec

from notify_streams.delivery.providers.provider import ProviderOutcome, ProviderResult

#: 401: our credential is at fault and not the message, which must not be thrown away for it
_RETRIED = frozenset({401, 408, 425, 429})
#: "not now": the message was not taken; any other 5xx may come from a proxy after it was
_UNAVAILABLE = 503


class HttpResponse(msgspec.Struct, frozen=True):
    """The provider answered."""

    status: int
    retry_after_s: float | None
    body: bytes


class NoResponse(msgspec.Struct, frozen=True):
    """The network failed, or the time ran out."""

    #: the kind of trouble; never an address
    trouble: str
    #: the request had been begun, so that it may have been accepted
    begun: bool


def retry_after_s(header: str | None, now: float) -> float | None:
    """Seconds to wait, from either form of `Retry-After` (RFC 9110 §10.2.3); None if absent or unreadable."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            when = parsedate_to_datetime(header)
        except ValueError:
            return None
        seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now
    return max(0.0, seconds) if isfinite(seconds) else None


def error_result(provider: str, answer: HttpResponse, code: str | None) -> ProviderResult:
    """RETRY or REJECTED for an answer that is not 2xx: `code` is the provider's own, if it gave one."""
    status = answer.status
    detail = f"HTTP {status}" if code is None else f"HTTP {status}, code {code}"
    if status >= 500 or status in _RETRIED or status < 400:
        return ProviderResult(
            outcome=ProviderOutcome.RETRY,
            provider=provider,
            detail=detail,
            code=code,
            retry_after_s=answer.retry_after_s,
            maybe_accepted=status >= 500 and status != _UNAVAILABLE,
        )
    return ProviderResult(outcome=ProviderOutcome.REJECTED, provider=provider, detail=detail, code=code or str(status))


def no_response_result(provider: str, silence: NoResponse) -> ProviderResult:
    """RETRY for a call that got no answer."""
    return ProviderResult(
        outcome=ProviderOutcome.RETRY,
        provider=provider,
        detail=silence.trouble,
        maybe_accepted=silence.begun,
        begun=silence.begun,
    )
