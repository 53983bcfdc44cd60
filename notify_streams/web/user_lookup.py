"""Where a person is at home, on any role: the registry says it, and where the registry is silent a table of this worker.

In: a user id. Out: a `User`, or None for somebody who never signed up. Contacts and preferences are no business of this file.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from notify_streams.errors import NotifyError, StoreUnavailable
from notify_streams.registry.user import User
from notify_streams.registry.users_table import UsersTable
from notify_streams.retry import RetryPolicy

if TYPE_CHECKING:
    from notify_streams.app import NotifyApp

_RETRIES: Final = RetryPolicy("registry.lookup", first_s=0.05, max_s=0.2, max_attempts=2)
_WITHIN_S: Final = 3.0
_LONGEST_ID: Final = 128
_UNKNOWN: Final = datetime.fromtimestamp(0, UTC)


class UserLookup:
    """The people that one worker can tell of. Its client of the registry is made at the first question: most workers are asked none."""

    def __init__(self, worker: NotifyApp) -> None:
        self._worker = worker
        self._registry: UsersTable | None = None
        self._starting = asyncio.Lock()
        worker.add_lifecycle(_nothing, self.close)

    async def find(self, user_id: str) -> User | None:
        """The person's row, None if nobody of this id signed up. Of somebody whom only a table knows, the region alone is told (version 0).

        Raises:
            StoreUnavailable: neither the registry nor a table can say.
        """
        if len(user_id) > _LONGEST_ID:
            return None
        try:
            async with asyncio.timeout(_WITHIN_S):
                return await (await self._started()).get(user_id)
        except (NotifyError, TimeoutError) as error:
            home = None if self._worker.locate is None else self._worker.locate(user_id)
            if home is None:
                raise StoreUnavailable("the registry does not say where this person is at home") from error
            return User(user_id, home.region, 0, _UNKNOWN)

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


_people: WeakKeyDictionary[NotifyApp, UserLookup] = WeakKeyDictionary()


def user_lookup_of(worker: NotifyApp) -> UserLookup:
    """The one `UserLookup` of a worker."""
    found = _people.get(worker)
    if found is None:
        found = _people[worker] = UserLookup(worker)
    return found


async def _nothing() -> None:
    return
