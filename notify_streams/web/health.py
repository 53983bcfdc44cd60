"""`/live`: restart this worker? `/ready`: may it be counted on? What stands still and what recovers in, a payload out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from notify_streams.transport import ready, recovery, stuck
from notify_streams.web.responses import RETRY_AFTER, WebView, answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.web import Request, Response

    from notify_streams.app import NotifyApp
    from notify_streams.transport import RecoveryProgress, Stuck


class Recovery(msgspec.Struct, frozen=True):
    """How far one table is on this worker."""

    table: str
    rows: int
    remaining: int
    rows_per_s: float
    #: None while nothing was read.
    estimate_s: float | None
    caught_up: bool


class Health(msgspec.Struct, frozen=True):
    """Both questions about one worker, answered."""

    live: bool
    ready: bool
    #: One sentence each; empty for a live worker.
    stuck: list[str]
    #: What a worker that is not ready waits for.
    waiting_for: list[str]
    tables: list[Recovery]


def health_of(worker: NotifyApp) -> Health:
    """The worker's health now; asks nobody."""
    return health(
        stuck(worker),
        None if worker.outbox is None else worker.outbox.failed,
        is_ready=ready(worker),
        tables=recovery(worker),
        learning=None if worker.placement_follower is None else worker.placement_follower.waiting_for,
    )


def health(
    standing_still: Sequence[Stuck],
    failed: BaseException | None,
    *,
    is_ready: bool,
    tables: Sequence[RecoveryProgress],
    learning: str | None,
) -> Health:
    """Values in, a value out. The message of `failed` stays out: an error may quote what it was about."""
    sentences = [str(one) for one in standing_still]
    if failed is not None:
        sentences.append(f"a flush loop ended with {type(failed).__name__}: nothing more leaves this worker")
    waiting = [str(one) for one in tables if not one.caught_up]
    if learning is not None:
        waiting.append(f"who serves whom: {learning}")
    if not is_ready and not waiting:
        waiting.append("partitions to be assigned and opened")
    recovering = [
        Recovery(one.table, one.rows, one.remaining, round(one.rows_per_s, 1), one.estimate_s, one.caught_up)
        for one in tables
    ]
    return Health(not sentences, not waiting, sentences, waiting, recovering)


class Live(WebView):
    """503 when only a restart helps."""

    async def get(self, request: Request) -> Response:
        found = health_of(self.worker)
        return answer({"live": found.live, "stuck": found.stuck}, 200 if found.live else 503)


class Ready(WebView):
    """503 while tables recover or partitions are not open, and how far that is."""

    async def get(self, request: Request) -> Response:
        found = health_of(self.worker)
        payload: dict[str, Any] = {"ready": found.ready, "waiting_for": found.waiting_for, "tables": found.tables}
        return answer(payload, 200 if found.ready else 503, None if found.ready else RETRY_AFTER)
