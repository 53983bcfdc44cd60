"""What to do about each kind of problem: severity, remedy, runbook."""

from __future__ import annotations

from typing import Final, NamedTuple

from notify_streams.web.verdict.problem import ProblemCode, Severity


class Remedy(NamedTuple):
    """The fields of a `Problem` that its code decides."""

    severity: Severity
    #: Anchor in docs/runbooks.md.
    runbook: str
    todo: str


REMEDIES: Final = {
    ProblemCode.KAFKA_DOWN: Remedy("bad", "notifykafkasilent", "Bring Kafka back; workers go on by themselves."),
    ProblemCode.SHARD_DOWN: Remedy(
        "bad",
        "notifyshardsilent",
        "Bring a majority of the shard's members back; the backlog is worked off without help.",
    ),
    ProblemCode.REDIS_DOWN: Remedy(
        "warn", "notifyredissilent", "Bring Redis back; meanwhile checks read MongoDB, and stops hold as before."
    ),
    ProblemCode.DYNAMODB_DOWN: Remedy(
        "bad", "notifyregistrysilent", "Restore access to DynamoDB or wait; sign-ups are applied in order afterwards."
    ),
    ProblemCode.REFUSED: Remedy("bad", "notifyrefused", "Correct the password, certificate or right that it names."),
    ProblemCode.CREDENTIAL: Remedy(
        "bad", "notifycredentialrefused", "Replace the credential's file; workers read it within 5 s."
    ),
    ProblemCode.PLATFORM_KEY: Remedy(
        "bad",
        "notifycredentialrefused",
        "Replace the platform's key in the provider's console (FCM: Firebase, Cloud Messaging).",
    ),
    ProblemCode.PROVIDER_FAILING: Remedy(
        "bad",
        "notifyproviderstopped",
        "Look at the provider's status page; it is probed, and the rate comes back by itself.",
    ),
    ProblemCode.PROVIDER_HANGING: Remedy(
        "bad", "notifyproviderstopped", "Look at the network and at the provider's status page; it is probed by itself."
    ),
    ProblemCode.PROVIDER_PAUSED: Remedy(
        "warn", "notifyproviderstopped", "`notify-streams providers resume NAME` ends the pause."
    ),
    ProblemCode.WORKER_GONE: Remedy(
        "bad", "notifyworkergone", "Look at the last lines of its log, and start it again if nothing else does."
    ),
    ProblemCode.ROLE_MISSING: Remedy("bad", "notifyworkergone", "Start a worker of this role."),
    ProblemCode.AGENT_STUCK: Remedy(
        "bad",
        "notifystalled",
        "Restart it if it does not go on; Kubernetes does when `/live` fails, after 30 s. The last lines of its log may say why.",
    ),
    ProblemCode.PARTITION_STUCK: Remedy(
        "bad",
        "notifystalled",
        "Look at the partition's next record (`/lag` has the position), and report it. If others of this worker follow, the worker is stuck.",
    ),
    ProblemCode.LINK_CUT: Remedy(
        "bad",
        "notifyregionlinkcut",
        "Mend the link, or that region's Kafka; triggers for its people wait for up to a week.",
    ),
    ProblemCode.CLOCK: Remedy("bad", "notifyclockstepped", "Mend the time synchronisation of the machine."),
    ProblemCode.RECORDS_LOST: Remedy(
        "bad",
        "notifyrecordslost",
        "Have what is lost sent again from its source; raise the retention while the role is behind.",
    ),
    ProblemCode.LEDGER_OPEN: Remedy(
        "bad", "the-ledger-does-not-close", "Run `notify-streams audit`, keep its output, and report it."
    ),
    ProblemCode.CALL_FAILING: Remedy(
        "bad",
        "notifycallfailing",
        "Look at the log action `retry.failing` of that call: it has the error. The runbook has the service of each call.",
    ),
    ProblemCode.DEAD_LETTERS: Remedy(
        "warn", "notifydeadletters", "`notify-streams dead-letters list` shows reason and sender; then `replay` them."
    ),
    ProblemCode.DELIVERY_FAILURES: Remedy(
        "bad",
        "notifydeliveriesfail",
        "`notify-streams deliveries list --state failed` shows reasons; then `replay` them.",
    ),
    ProblemCode.CRITICAL_SLOW: Remedy("bad", "notifycriticalslow", "Add workers to the role that is behind, or CPU."),
    ProblemCode.OUTBOX_AGE: Remedy(
        "bad", "notifyoutboxold", "Look at Kafka and at failing calls; the relay publishes what is left, in order."
    ),
    ProblemCode.TIMERS_LATE: Remedy(
        "warn", "notifyretrieslate", "Nothing after an outage; otherwise raise `providers.calls_per_s`."
    ),
    ProblemCode.LAG: Remedy("warn", "notifylaggrows", "Add workers of the role, up to the number of partitions."),
    ProblemCode.NOT_KNOWN: Remedy(
        "warn", "notifyshardsilent", "Look at MongoDB's load and slow queries: each of these reads must end within 3 s."
    ),
    ProblemCode.WORKER_NOT_READY: Remedy("warn", "notifynotready", "Its `/ready` lists each reason."),
}
#: Worst first.
ORDER: Final = {code: place for place, code in enumerate(ProblemCode)}
#: What these say may only be the effect of another one.
EFFECTS: Final = frozenset(list(ProblemCode)[ORDER[ProblemCode.CALL_FAILING] :])
