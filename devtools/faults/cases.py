"""The twelve faults, and the words by which each is recognised."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from devtools.faults import injections
from devtools.faults.injections import POISONED

if TYPE_CHECKING:
    from collections.abc import Callable

    from devtools.faults.injections import Injection

#: Shards of a local region: a bucket is on shard ``bucket % 2``.
_SHARDS: Final = 2
_DOWN_SHARD: Final = 1


def _anybody(user_id: str, bucket: int) -> bool:
    return user_id.startswith("here")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, and what names it."""

    name: str
    title: str
    inject: Injection
    #: The page's `code` (`notify_streams.web.verdict`).
    code: str
    #: Matches the page's first line, a line of `doctor`.
    words: str
    #: One of these alerts must fire.
    alerts: tuple[str, ...]
    #: Matches a line of a worker's log.
    log: str
    #: Whether a trigger of this person (user id, bucket) meets the fault.
    meets: Callable[[str, int], bool] = _anybody
    #: Whether such a trigger waits, so that `why` must name the fault.
    delays: bool = True
    #: Whether it needs another region.
    linked: bool = False

    def named_in(self, text: str) -> bool:
        """Whether a sentence of the page or of `doctor` names the fault."""
        return re.search(self.words, text, re.IGNORECASE) is not None

    def explained_by(self, text: str) -> bool:
        """Whether what `why` says names the fault, if it has to."""
        return not self.delays or any(map(self.named_in, text.splitlines()))


FAULTS: Final = (
    Fault(
        "kafka",
        "Kafka down",
        injections.killed(lambda region: region.kafka),
        "kafka_down",
        r"\bKafka at\b",
        ("NotifyKafkaSilent",),
        r"Kafka",
    ),
    Fault(
        "shard",
        "a shard down",
        injections.killed(lambda region: region.shards[_DOWN_SHARD]),
        "shard_down",
        r"\bshard 1\b",
        ("NotifyShardSilent",),
        r"shard.{0,6}1|MongoDB|store",
        meets=lambda user_id, bucket: user_id.startswith("here") and bucket % _SHARDS == _DOWN_SHARD,
    ),
    Fault(
        "redis",
        "Redis down",
        injections.killed(lambda region: region.redis),
        "redis_down",
        r"\bRedis\b",
        ("NotifyRedisSilent",),
        r"[Rr]edis|preferences\.lease",
        delays=False,
    ),
    Fault(
        "dynamodb",
        "DynamoDB away",
        injections.killed(lambda region: region.dynamodb),
        "dynamodb_down",
        r"\bDynamoDB\b",
        ("NotifyRegistrySilent",),
        r"registry\.",
        delays=False,
    ),
    Fault(
        "provider_503",
        "provider 503",
        injections.provider(fail={"status": 503}),
        "provider_failing",
        r"\bfcm\b.*(503|fail|open|probing)",
        ("NotifyProviderStopped",),
        r"fcm|breaker|provider",
    ),
    Fault(
        "provider_hangs",
        "provider hanging",
        injections.provider(hang=True),
        "provider_hanging",
        r"\bfcm\b.*(answer|hang|open|probing)",
        ("NotifyProviderStopped",),
        r"fcm|breaker|provider",
    ),
    Fault(
        "credential",
        "wrong credential",
        injections.provider(fail={"status": 401}),
        "credential",
        r"credential|access token",
        ("NotifyCredentialRefused",),
        r"credential|401",
    ),
    Fault(
        "poison",
        "a poison partition",
        injections.poison_partition,
        "partition_stuck",
        rf"{re.escape(POISONED[0])}\W{{1,12}}{POISONED[1]}\b|partition",
        ("NotifyStalled",),
        r"batch\.redeliver",
        meets=lambda user_id, bucket: user_id.startswith("here") and bucket == POISONED[1],
    ),
    Fault(
        "agent",
        "a stuck agent",
        injections.stuck_agent,
        "agent_stuck",
        r"standard.*(stuck|progress|move)|(stuck|progress|move).*standard",
        ("NotifyStalled",),
        r"watchdog|stuck",
    ),
    Fault(
        "worker",
        "a worker gone",
        injections.worker_gone("push"),
        "worker_gone",
        r"\bworker push\b",
        ("NotifyWorkerGone",),
        r"worker_gone",
    ),
    Fault(
        "link",
        "a region link cut",
        injections.link_cut,
        "link_cut",
        r"\beu\b",
        ("NotifyRegionLinkCut",),
        r"remote_region\.fail|forward",
        meets=lambda user_id, bucket: user_id.startswith("away"),
        linked=True,
    ),
    Fault(
        "clock",
        "a clock stepped",
        injections.clock_stepped,
        "clock",
        r"\bclock\b",
        ("NotifyClockStepped",),
        r"clock of worker push",
        delays=False,
    ),
)
BY_NAME: Final = {one.name: one for one in FAULTS}
