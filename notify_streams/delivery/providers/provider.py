"""The interface of the provider clients: message, result, protocol."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, Protocol

import msgspec

#: The ids of FCM, Twilio, SES and SNS have less than 200 characters; FCM's has the project's name.
_MESSAGE_ID: Final = re.compile(r"[!-~]{1,256}")


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """One rendered message to one contact."""

    delivery_id: str
    notification_id: str
    #: push, sms or email
    channel: str
    #: device token, E.164 number or mail address; appears in no log and no result
    to: str
    title: str | None = None
    body: str
    #: the same for programs that show HTML (email)
    html: str | None = None
    #: 1 for the first call
    attempt: int = 1
    #: an earlier attempt with an unknown result may have been accepted
    possible_duplicate: bool = False
    critical: bool = False
    #: a later message with the same key replaces this one on the device (push)
    collapse_key: str | None = None
    expires_at_ms: int | None = None
    #: time of the decision; part of the delivery metadata
    decided_at_ms: int | None = None
    #: where the delivery's records are, which a receipt must reach; part of the delivery metadata
    region: str | None = None
    bucket: int | None = None
    #: for the app on the device (push)
    data: dict[str, Any] | None = None
    #: where the person can turn this kind of mail off with one request (RFC 8058); None: it cannot be turned off, or links are off
    unsubscribe: str | None = None
    #: of a device (push): the name of its provider; None: that of the channel
    provider: str | None = None
    #: of a device (push): its app's bundle id or package name, if it is known
    app: str | None = None
    #: of a device (push) whose text is of another template file than the person's: see `Attempt.template_version`
    template_version: str | None = None
    #: for the header of that name, at providers that take it (`tracing.send_to`)
    traceparent: str | None = None
    #: called when a mail server has taken everything but the content: it answers, and may scan the mail before it says more
    on_content: Callable[[], None] | None = None


class ProviderOutcome(StrEnum):
    """What the caller must do."""

    #: nothing: the provider accepted the message
    ACCEPTED = "accepted"
    #: call again after `retry_after_s`, or after the caller's own backoff if that is None
    RETRY = "retry"
    #: end the delivery: the provider will never accept this message
    REJECTED = "rejected"
    #: end the delivery: the contact is not valid any more
    DEAD_TOKEN = "dead_token"
    #: end the delivery: known before the call, nothing was sent. The names are those of `records.outcomes.Reason`
    RENDERING = "rendering"
    TOO_LARGE = "too_large"
    BAD_ADDRESS = "bad_address"


class ProviderResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one call, without contacts, credentials or text of the provider."""

    outcome: ProviderOutcome
    provider: str
    #: the provider's id of the accepted message
    provider_id: str | None = None
    #: status and code, or the type of the network error, for logs
    detail: str = ""
    #: the provider's error code: "UNREGISTERED", "21610", "550 5.7.1"
    code: str | None = None
    #: RETRY only: the delay that the provider asks for
    retry_after_s: float | None = None
    #: RETRY only: the provider said "too many requests"
    throttled: bool = False
    #: RETRY only: the provider may have accepted the message, so the next attempt is a possible duplicate
    maybe_accepted: bool = False
    #: the provider's error code has no row in our table
    unknown_code: bool = False
    #: RETRY only: not the message but our credential was refused
    credential_refused: bool = False
    #: RETRY only: the provider takes our credential, and has no valid one of ours for the recipient's platform
    platform_refused: bool = False
    #: RETRY only: about one recipient, or one server, which the recipient chose; it says nothing about the provider's others
    one_server: bool = False
    #: False (RETRY, REJECTED): nothing was sent
    begun: bool = True
    #: RETRY only: nothing was sent, because a connection or an access token was not there in time; it may be in a moment
    not_ready: bool = False
    #: RETRY only: nothing was sent, for a reason of ours; it says nothing about the provider
    not_called: bool = False
    #: sms only: the segments of the text
    segments: int | None = None
    #: push to devices only: the result of each, in their order
    devices: tuple[DeviceResult, ...] | None = None


class DeviceResult(msgspec.Struct, frozen=True):
    """The result of the call for one of a person's devices."""

    token: str
    result: ProviderResult
    #: if it is another one than that of the attempt
    template_version: str | None = None

    def __repr__(self) -> str:
        """Without the token."""
        return f"DeviceResult(result={self.result!r})"


def unsendable(provider: str, outcome: ProviderOutcome, detail: str, *, segments: int | None = None) -> ProviderResult:
    """The result for a message of which we know, before any call, that `provider` would refuse it."""
    return ProviderResult(outcome=outcome, provider=provider, detail=detail, begun=False, segments=segments)


def message_id_in(found: object) -> str | None:
    """The id that a provider's reply gives a message; None if it is none: it is stored with the attempt, shown, and searched for."""
    return found if isinstance(found, str) and _MESSAGE_ID.fullmatch(found) else None


class Provider(Protocol):
    """A client of one provider.

    `send` returns within `ProviderSettings.call_timeout_s` and raises no network error and no error of the provider. It starts the request
    within `start_within_s` or sends nothing, so that a check made just before the call is still valid. With at most `max_in_flight`
    concurrent calls it never waits for a free connection. A cancelled `send` may have reached the provider.
    """

    name: str
    max_in_flight: int

    async def start(self) -> None:
        """Create the connection pool. It waits for no connection."""

    async def send(self, message: Outgoing) -> ProviderResult:
        """Make one attempt. Never repeats a request that the provider may have accepted."""
        ...

    async def close(self) -> None:
        """Close all connections. Calls in progress return RETRY or are cancelled."""
