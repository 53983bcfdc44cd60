"""What every provider client takes, gives and promises: `Outgoing` in, `ProviderResult` out, behind one Protocol."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Protocol

import msgspec


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """One message to one contact of one person, rendered and allowed."""

    delivery_id: str
    notification_id: str
    #: push, sms or email
    channel: str
    #: the contact: device token, E.164 number or mail address; it reaches the provider and nothing else
    to: str
    title: str | None = None
    body: str
    #: 1 for the first call
    attempt: int = 1
    #: an earlier attempt may have been accepted without our knowing
    possible_duplicate: bool = False
    critical: bool = False
    #: a later message with the same key replaces this one on the device, where the provider can do that
    collapse_key: str | None = None
    expires_at_ms: int | None = None
    #: when it was decided to send this; travels with the message, so that the far end can tell how long that took
    decided_at_ms: int | None = None
    #: for the application on the device (push)
    data: dict[str, Any] | None = None


class ProviderOutcome(StrEnum):
    """The closed list; it says what the caller must do."""

    #: the provider took it
    ACCEPTED = "accepted"
    #: not taken, or not known; send again after `retry_after_s`, or after the caller's own backoff where that is None
    RETRY = "retry"
    #: this message will never be taken
    REJECTED = "rejected"
    #: nothing will ever be taken for this contact: forget it
    DEAD_TOKEN = "dead_token"


class ProviderResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one call. No field holds a contact, a credential or text that the provider wrote."""

    outcome: ProviderOutcome
    provider: str
    #: the provider's own name of the accepted message
    provider_id: str | None = None
    #: status and code, or the kind of network trouble, for logs
    detail: str = ""
    #: the provider's own code for a refusal: "UNREGISTERED", "21610", "550"
    code: str | None = None
    #: RETRY only: how long the provider asked to be left alone
    retry_after_s: float | None = None
    #: RETRY only: the provider may have taken it all the same, so that the next attempt is a possible duplicate
    maybe_accepted: bool = False
    #: False (RETRY only): the provider was never spoken to, for want of a connection or of our own credential
    begun: bool = True


class Provider(Protocol):
    """A client of one provider.

    `send` raises for no trouble of the network or of the provider: it returns. It ends within `timeout_s`, and it has
    begun to speak to the provider within `start_within_s` or sends nothing at all: so a check made just before the
    call still holds when the call begins. A caller that keeps to `max_in_flight` calls never waits for a free
    connection. A cancelled `send` may or may not have reached the provider.
    """

    name: str
    max_in_flight: int

    async def start(self) -> None:
        """Makes the pool; connects to nothing yet."""

    async def send(self, message: Outgoing) -> ProviderResult:
        """One attempt; never repeats by itself anything that the provider may have taken."""
        ...

    async def close(self) -> None:
        """Closes every connection; calls still under way end as RETRY or are cut off."""
