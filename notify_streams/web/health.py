"""`/live` and `/ready`: the health of this worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from notify_streams.transport import ready, recovery, stuck
from notify_streams.web.responses import RETRY_AFTER, WebView, json_response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.web import Request, Response

    from notify_streams.app import NotifyApp
    from notify_streams.transport import RecoveryProgress, Stuck


class Recovery(msgspec.Struct, frozen=True):
    """The recovery of one table on this worker."""

    table: str
    rows: int
    remaining: int
    rows_per_s: float
    #: None until something was read.
    estimate_s: float | None
    caught_up: bool


class Health(msgspec.Struct, frozen=True):
    """Liveness and readiness of one worker."""

    live: bool
    ready: bool
    #: Descriptions of what is stuck; empty if the worker is live.
    stuck: list[str]
    #: Empty if the worker is ready.
    waiting_for: list[str]
    tables: list[Recovery]


def health_of(worker: NotifyApp) -> Health:
    """The present health, without I/O."""
    return health(
        stuck(worker),
        None if worker.outbox is None else worker.outbox.failed,
        is_ready=ready(worker),
        tables=recovery(worker),
        placement_waits_for=None if worker.placement_follower is None else worker.placement_follower.waiting_for,
    )


def health(
    stuck_parts: Sequence[Stuck],
    failed: BaseException | None,
    *,
    is_ready: bool,
    tables: Sequence[RecoveryProgress],
    placement_waits_for: str | None,
) -> Health:
    """`failed` is the error that ended a flush loop; its text is left out because it may contain data."""
    problems = [str(one) for one in stuck_parts]
    if failed is not None:
        problems.append(f"a flush loop ended with {type(failed).__name__}: this worker publishes nothing")
    waiting = [str(one) for one in tables if not one.caught_up]
    if placement_waits_for is not None:
        waiting.append(f"placement: {placement_waits_for}")
    if not is_ready and not waiting:
        waiting.append("the assignment and opening of partitions")
    recovering = [
        Recovery(one.table, one.rows, one.remaining, round(one.rows_per_s, 1), one.estimate_s, one.caught_up)
        for one in tables
    ]
    return Health(not problems, not waiting, problems, waiting, recovering)


class Live(WebView):
    """200, or 503 if the worker must be restarted."""

    async def get(self, request: Request) -> Response:
        state = health_of(self.worker)
        return json_response({"live": state.live, "stuck": state.stuck}, 200 if state.live else 503)


class Ready(WebView):
    """200, or 503 while tables recover or partitions are not open."""

    async def get(self, request: Request) -> Response:
        state = health_of(self.worker)
        payload: dict[str, Any] = {"ready": state.ready, "waiting_for": state.waiting_for, "tables": state.tables}
        return json_response(payload, 200 if state.ready else 503, None if state.ready else RETRY_AFTER)
