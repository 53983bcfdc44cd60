"""The state of each registered worker: ready, waiting, stuck, gone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from notify_streams.web.verdict.region_status import WorkerStatus
from notify_streams.web.wording import duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notify_streams.web.peers import Peer, Peers
    from notify_streams.web.verdict.region_status import WorkerState

#: A worker that does not answer, and gave no sign of life for so long, does not run; it gives one every 5 s.
_SILENT_S: Final = 8.0
#: Without Redis: so many rounds without an answer.
_MISSES: Final = 3
_WHY: Final = {
    "refused": "its address refuses connections",
    "unreachable": "its address cannot be reached",
    "silent": "it accepts connections and does not answer",
}


def worker_statuses(peers: Peers, misses: Mapping[str, int], *, signs_count: bool) -> list[WorkerStatus]:
    """The registered workers as they are now.

    Args:
        misses: worker id → rounds in a row without an answer.
        signs_count: Redis has answered for so long that a missing sign of life means something.
    """
    now = peers.redis_time if signs_count else None
    return [_status(peer, misses.get(peer.registered.entry.id, 0), now) for peer in peers.workers]


def _status(peer: Peer, misses: int, now: float | None) -> WorkerStatus:
    entry, summary = peer.registered.entry, peer.summary
    if summary is None:
        state, reasons = _without_answer(peer, misses, now)
    else:
        health = summary.health
        state = "stuck" if not health.live else "ready" if health.ready else "waiting"
        reasons = health.waiting_for
    return WorkerStatus(
        entry.id,
        entry.role,
        entry.host,
        entry.port,
        entry.partitions if summary is None or summary.partitions is None else summary.partitions,
        entry.version,
        datetime.fromtimestamp(round(peer.registered.registered), UTC),
        datetime.fromtimestamp(round(peer.registered.seen), UTC),
        state,
        reasons,
        summary,
    )


def _without_answer(peer: Peer, misses: int, now: float | None) -> tuple[WorkerState, list[str]]:
    why = _WHY[peer.failure or "silent"]
    silent_s = None if now is None else now - peer.registered.seen
    if silent_s is None:
        lost = misses >= _MISSES
    else:
        lost = silent_s > _SILENT_S
        if lost:
            why += f", and it has given no sign of life for {duration(silent_s)}"
    if not lost:
        return "waiting", [why]
    return "stuck" if peer.failure == "silent" else "gone", [why]
