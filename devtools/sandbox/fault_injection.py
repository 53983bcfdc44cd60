"""Decides what the sandbox does with each message; the seed fixes the actions."""

from __future__ import annotations

from enum import Enum
from random import Random
from typing import Annotated, Literal

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
ProviderName = Literal["fcm", "apns", "web_push", "twilio", "smtp"]


class Failure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A refusal: an HTTP status, or an SMTP reply code such as 451."""

    status: Annotated[int, msgspec.Meta(ge=300, le=599)]
    share: Share = 1.0
    retry_after_s: Annotated[float, msgspec.Meta(ge=0)] | None = None
    #: The provider's own code in the body of the response; None: one that suits the status.
    code: str | None = None


class FaultPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /control`. It replaces the earlier plan of this provider."""

    provider: ProviderName
    fail: Failure | None = None
    #: From the arrival of a message to its acceptance or refusal.
    latency_ms: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    #: The share that is neither accepted nor answered; true: all.
    hang: Share | bool = 0.0
    #: The share that is accepted, but the connection is closed without a response; true: all.
    lose_answer: Share | bool = 0.0
    #: The share that is accepted and answered, after GOAWAY: the connection takes no further request; true: all. APNs only.
    go_away: Share | bool = 0.0
    #: Contacts that the provider no longer knows.
    dead_tokens: frozenset[str] = frozenset()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.go_away and self.provider != "apns":
            raise ValueError(f"go_away: {self.provider} has no GOAWAY, only apns")


class Action(Enum):
    """What the sandbox does with one message."""

    ACCEPT = "accept"
    ACCEPT_AND_LOSE_ANSWER = "accept and lose answer"
    ACCEPT_AND_GO_AWAY = "accept and go away"
    FAIL = "fail"
    DEAD = "dead"
    HANG = "hang"


class FaultInjector:
    """The faults of one provider. The action for the n-th message depends on the plan and n only."""

    def __init__(self, plan: FaultPlan) -> None:
        self.plan = plan
        self._random = Random(plan.seed)
        self._no_faults = plan == FaultPlan(plan.provider, seed=plan.seed)

    def next_action(self, contact: str) -> Action:
        """The action for the next message."""
        if self._no_faults:
            return Action.ACCEPT
        plan = self.plan
        # Always four draws, so that a change of one share leaves the other actions as they were.
        hang, fail, lose, go_away = (self._random.random() for _ in range(4))
        if contact in plan.dead_tokens:
            return Action.DEAD
        if hang < plan.hang:
            return Action.HANG
        if plan.fail is not None and fail < plan.fail.share:
            return Action.FAIL
        if lose < plan.lose_answer:
            return Action.ACCEPT_AND_LOSE_ANSWER
        return Action.ACCEPT_AND_GO_AWAY if go_away < plan.go_away else Action.ACCEPT
