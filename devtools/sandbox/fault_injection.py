"""How a sandboxed provider misbehaves on demand. Pure: orders in, one `InjectedFault` a message out, the same for the same seed."""

from __future__ import annotations

from enum import Enum
from random import Random
from typing import Annotated, Literal

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
ProviderName = Literal["fcm", "apns", "twilio", "smtp"]


class Failure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A refusal: an HTTP status, or for mail a reply code such as 451."""

    status: Annotated[int, msgspec.Meta(ge=300, le=599)]
    share: Share = 1.0
    retry_after_s: Annotated[float, msgspec.Meta(ge=0)] | None = None
    #: the provider's own code in the answer's body; None: one that suits the status
    code: str | None = None


class FaultPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /control`: the whole behaviour of one provider, in place of the one before."""

    provider: ProviderName
    fail: Failure | None = None
    #: from the arrival of a message to its acceptance or refusal
    latency_ms: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    #: the share that is neither accepted nor answered; true: all
    hang: Share | bool = 0.0
    #: the share that is accepted, while the connection is cut before the answer; true: all
    lose_answer: Share | bool = 0.0
    #: contacts that are no more
    dead_tokens: frozenset[str] = frozenset()
    seed: int = 0


class InjectedFault(Enum):
    """What becomes of one message."""

    ACCEPT = "accept"
    ACCEPT_AND_LOSE_ANSWER = "accept and lose answer"
    FAIL = "fail"
    DEAD = "dead"
    HANG = "hang"


class FaultInjector:
    """One provider's behaviour; the n-th message after the orders always meets the same fate."""

    def __init__(self, orders: FaultPlan) -> None:
        self.orders = orders
        self._random = Random(orders.seed)
        self._plain = orders == FaultPlan(orders.provider, seed=orders.seed)

    def fate(self, contact: str) -> InjectedFault:
        """The fate of the next message."""
        if self._plain:
            return InjectedFault.ACCEPT
        orders = self.orders
        # Always three draws, so that changing one share leaves the other fates as they were.
        hangs, fails, loses = self._random.random(), self._random.random(), self._random.random()
        if contact in orders.dead_tokens:
            return InjectedFault.DEAD
        if hangs < orders.hang:
            return InjectedFault.HANG
        if orders.fail is not None and fails < orders.fail.share:
            return InjectedFault.FAIL
        return InjectedFault.ACCEPT_AND_LOSE_ANSWER if loses < orders.lose_answer else InjectedFault.ACCEPT
