"""Commits the flushes of one shard.

A commit is repeated while the shard does not answer, and never counts twice.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from notify_streams import metrics
from notify_streams.errors import NotifyError, StoreUnavailable, UnknownFailure
from notify_streams.outbox.transaction import LedgerFenced
from notify_streams.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notify_streams.outbox.flush_plan import Flush
    from notify_streams.outbox.pending_deletes import PendingDeletes
    from notify_streams.outbox.transaction import FlushStore
    from notify_streams.retry import Attempts

log = logging.getLogger(__name__)

COMMIT_RETRY: Final = RetryPolicy("outbox.commit", first_s=0.05, max_s=2.0, max_unknown_s=30.0)
QUERY_RETRY: Final = RetryPolicy("outbox.query", first_s=0.05, max_s=2.0)
#: After this many failures a flush of several batches is divided.
_MAX_WHOLE_FAILURES: Final = 2


class FlushTooLarge(NotifyError):
    """The transaction did not commit in time; half of it may."""


class FlushCommit:
    """Of one flush loop, which commits one flush at a time."""

    def __init__(self, shard: int, store: FlushStore, pending_deletes: PendingDeletes, retry: RetryPolicy) -> None:
        self._shard = shard
        self._store = store
        self._pending_deletes = pending_deletes
        self._retry = retry

    async def commit(self, flush: Flush, *, divisible: bool) -> None:
        """Commit `flush`, and delete published rows with it; retries without limit while the shard is unavailable.

        Raises:
            DuplicateNotifications, LedgerFenced: nothing was written; the flush has to be changed.
            FlushTooLarge: it failed twice and can be divided.
            PermanentFailure: the shard will never accept it; nothing was written.
        """
        attempts = self._retry.attempts()
        deletes = self._pending_deletes.due()
        await self._until_known(flush, deletes, attempts, divisible)
        attempts.succeeded()
        self._pending_deletes.mark_deleted(deletes)

    async def _until_known(
        self, flush: Flush, deletes: Mapping[str, Mapping[str, Any]], attempts: Attempts, divisible: bool
    ) -> None:
        while True:
            try:
                if attempts.failures and await self._store.is_committed(flush):
                    break
                if divisible and attempts.failures >= _MAX_WHOLE_FAILURES:
                    raise FlushTooLarge
                await self._store.write(flush, list(deletes.values()))
                break
            except LedgerFenced:
                if attempts.failures and await QUERY_RETRY.call(self._store.is_committed, flush):
                    break
                raise
            except StoreUnavailable as error:
                metrics.FLUSH_RETRIES.labels("store").inc()
                await attempts.failed(error)
            except NotifyError:
                raise
            except Exception as error:
                log.exception("unknown error of a flush", extra={"action": "flush.error", "shard": self._shard})
                metrics.FLUSH_RETRIES.labels("error").inc()
                await attempts.failed(UnknownFailure(f"flush: {type(error).__name__}"))
