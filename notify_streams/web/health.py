"""`/live` and `/ready`: the health of this worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from notify_streams import refusals
from notify_streams.regions.failover.placement_follower import OWN_LOG
from notify_streams.retry import failing_calls
from notify_streams.transport import ready, recovery, stuck, table_problems, wrong_partition_counts
from notify_streams.web.responses import RETRY_AFTER, Content, SharedView, json_content
from notify_streams.web.summary import Health, Recovery

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from notify_streams.app import NotifyApp
    from notify_streams.delivery.provider_state import ProviderState
    from notify_streams.transport import RecoveryProgress, Stuck

#: A call that fails for longer than this is shown: another service is down, or refuses what we send.
_FAILING_S: Final = 10.0
_OPENING: Final = "the assignment and opening of partitions"
#: What a worker waits for at each start and rebalance, beside tables that recover.
_STEPS: Final = frozenset((_OPENING, f"placement: {OWN_LOG}"))


def health_of(worker: NotifyApp) -> Health:
    """The present health, without I/O."""
    follower = worker.placement_follower
    waiting = [] if follower is None or follower.waiting_for is None else [f"placement: {follower.waiting_for}"]
    waiting += [f"shard {shard} does not answer" for shard in worker.shards.directory.expired()]
    waiting += table_problems(worker)
    waiting += filter(None, [worker.shards.directory.problem()])
    waiting += failing(failing_calls())
    waiting += refusals.recent()
    if worker.delivery is not None:
        waiting += not_called(worker.delivery.provider_state())
    partitions = worker.settings.partitions
    publishers = worker.outbox, worker.delivery, worker.receipt_events
    waiting += [
        f"topic {topic} has {count} partitions, the settings say {partitions}"
        for topic, count in sorted(wrong_partition_counts(worker, partitions).items())
    ]
    return health(
        stuck(worker),
        next((one.failed for one in publishers if one is not None and one.failed), None),
        is_ready=ready(worker),
        tables=recovery(worker),
        waiting_for=waiting,
    )


def not_called(provider: ProviderState) -> list[str]:
    """Why messages wait for a provider: ``provider fcm is open``."""
    waiting = [
        f"provider {one.provider} is {one.state}"
        for one in (provider, *provider.further)
        if one.state in ("open", "probing", "paused")
    ]
    waiting += [
        f"calls to {name} fail because of the credential ({problem}): `notify-streams providers check` says what is wrong"
        for name, problem in sorted(provider.credential_problems.items())
    ]
    return waiting


def failing(calls_s: Mapping[str, float]) -> list[str]:
    """The calls that have failed for too long: ``outbox.commit fails for 25 s``."""
    return [f"{call} fails for {seconds:.0f} s" for call, seconds in sorted(calls_s.items()) if seconds >= _FAILING_S]


def health(
    stuck_parts: Sequence[Stuck],
    failed: BaseException | None,
    *,
    is_ready: bool,
    tables: Sequence[RecoveryProgress],
    waiting_for: Sequence[str] = (),
) -> Health:
    """`failed` is the error that ended a flush loop; its text is left out because it may contain data."""
    problems = [str(one) for one in stuck_parts]
    if failed is not None:
        problems.append(f"a flush loop ended with {type(failed).__name__}: this worker publishes nothing")
    waiting = [*problems, *(str(one) for one in tables if not one.caught_up), *waiting_for]
    if not is_ready and not waiting:
        waiting.append(_OPENING)
    recovering = [
        Recovery(one.table, one.rows, one.remaining, round(one.rows_per_s, 1), one.estimate_s, one.caught_up)
        for one in tables
    ]
    return Health(not problems, not waiting, problems, waiting, recovering)


def recovering_table(state: Health, problem: str) -> str | None:
    """The table whose recovery is this problem of `waiting_for`; None: it is something else."""
    return next((one.table for one in state.tables if not one.caught_up and problem.startswith(f"{one.table}: ")), None)


def is_step(state: Health, problem: str) -> bool:
    """Whether this problem of `waiting_for` belongs to each start and rebalance: it ends by itself within seconds."""
    return problem in _STEPS or recovering_table(state, problem) is not None


class Live(SharedView):
    """200, or 503 if the worker must be restarted. Nothing that is wrong elsewhere makes it 503."""

    async def content(self) -> Content:
        state = health_of(self.worker)
        return json_content({"live": state.live, "stuck": state.stuck}, 200 if state.live else 503)


class Ready(SharedView):
    """200, or 503 with all that is wrong or not yet there."""

    shared_s = 0.2  # a rollout waits for it

    async def content(self) -> Content:
        state = health_of(self.worker)
        payload: dict[str, Any] = {"ready": state.ready, "waiting_for": state.waiting_for, "tables": state.tables}
        return json_content(payload, 200 if state.ready else 503, None if state.ready else RETRY_AFTER)
