"""Finds a user's home region in the registry or in the locations table."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from notify_streams.errors import NotifyError, StoreUnavailable
from notify_streams.registry.user import User
from notify_streams.registry.users_table import UsersTable
from notify_streams.retry import RetryPolicy
from notify_streams.web.worker_objects import one_for

if TYPE_CHECKING:
    from notify_streams.app import NotifyApp

_RETRIES: Final = RetryPolicy("registry.lookup", first_s=0.05, max_s=0.2, max_attempts=2)
_TIMEOUT_S: Final = 3.0
_MAX_ID_CHARS: Final = 128
_UNKNOWN: Final = datetime.fromtimestamp(0, UTC)


class UserLookup:
    """Creates its registry client at the first lookup, because most workers get none."""

    def __init__(self, worker: NotifyApp) -> None:
        self._worker = worker
        self._registry: UsersTable | None = None
        self._starting = asyncio.Lock()
        worker.add_stop(self.close)

    async def find(self, user_id: str) -> User | None:
        """The registry's row; None if no user with this id has signed up.

        If the registry does not respond, the locations table supplies the region, with version 0.

        Raises:
            StoreUnavailable: the registry does not respond, and there is no location in a table.
        """
        if len(user_id) > _MAX_ID_CHARS:
            return None
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return await (await self._started()).get(user_id)
        except (NotifyError, TimeoutError) as error:
            location = None if self._worker.locate is None else self._worker.locate(user_id)
            if location is None:
                raise StoreUnavailable("the registry does not respond, so the home region is unknown") from error
            return User(user_id, location.region, 0, _UNKNOWN)

    async def close(self) -> None:
        if self._registry is not None:
            await self._registry.close()

    async def _started(self) -> UsersTable:
        async with self._starting:
            if self._registry is None:
                registry = UsersTable(self._worker.settings, _RETRIES)
                await registry.start()
                self._registry = registry
            return self._registry


def user_lookup(worker: NotifyApp) -> UserLookup:
    """The one `UserLookup` of a worker."""
    return one_for(worker, UserLookup)
