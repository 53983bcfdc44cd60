"""Problems of a region: what is wrong, since when, what to do."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec

Severity = Literal["bad", "warn"]


class ProblemCode(StrEnum):
    """All kinds of problems, each with a row in `remedies`. Causes come before their effects, and the worst causes first."""

    #: Kafka, a shard, Redis or DynamoDB does not answer.
    KAFKA_DOWN = "kafka_down"
    SHARD_DOWN = "shard_down"
    REDIS_DOWN = "redis_down"
    DYNAMODB_DOWN = "dynamodb_down"
    #: A service answers, and refuses our password, certificate or a right.
    REFUSED = "refused"
    #: A provider refuses our key or password.
    CREDENTIAL = "credential"
    #: A provider has no valid key of ours for one platform.
    PLATFORM_KEY = "platform_key"
    #: Most calls to a provider end with an error of its own, or without an answer.
    PROVIDER_FAILING = "provider_failing"
    PROVIDER_HANGING = "provider_hanging"
    #: An operator has paused a provider.
    PROVIDER_PAUSED = "provider_paused"
    WORKER_GONE = "worker_gone"
    #: No worker of a role is known.
    ROLE_MISSING = "role_missing"
    #: A worker makes no progress, or one of its partitions.
    AGENT_STUCK = "agent_stuck"
    PARTITION_STUCK = "partition_stuck"
    LINK_CUT = "link_cut"
    CLOCK = "clock"
    #: Kafka deleted records before a role had read them.
    RECORDS_LOST = "records_lost"
    LEDGER_OPEN = "ledger_open"
    CALL_FAILING = "call_failing"
    DEAD_LETTERS = "dead_letters"
    DELIVERY_FAILURES = "delivery_failures"
    CRITICAL_SLOW = "critical_slow"
    OUTBOX_AGE = "outbox_age"
    TIMERS_LATE = "timers_late"
    LAG = "lag"
    #: The shards answer, and what they store could not be read.
    NOT_KNOWN = "not_known"
    WORKER_NOT_READY = "worker_not_ready"


class FoundProblem(msgspec.Struct, frozen=True):
    """What a rule says about one observation. Two with the same code and `about` are the same problem."""

    code: ProblemCode
    #: "shard 1", "provider fcm", "worker push at 127.0.0.3:6071"
    about: str
    #: One sentence with the cause.
    text: str


class Problem(msgspec.Struct, frozen=True):
    """What is wrong now."""

    code: ProblemCode
    about: str
    text: str
    since: datetime
    #: What to do, in one sentence.
    todo: str
    #: Anchor in docs/runbooks.md.
    runbook: str
    severity: Severity


class PastProblem(msgspec.Struct, frozen=True):
    """What was wrong, and is no longer."""

    code: ProblemCode
    about: str
    text: str
    since: datetime
    ended_at: datetime
    todo: str
    runbook: str
    severity: Severity


class Verdict(msgspec.Struct, frozen=True):
    """The verdict over a region at one moment."""

    at: datetime
    #: One sentence: the worst problem, and how many more there are.
    headline: str
    #: The worst first; causes before their effects.
    now: list[Problem]
    #: Those that ended within the last hour, the latest first.
    last_hour: list[PastProblem]
