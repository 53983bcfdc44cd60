"""Reads a user's row in the registry for a verb."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from notify_streams.registry.user import User
    from notify_streams.settings import Settings


async def registered_user(settings: Settings, user_id: str) -> User | None:
    """The row; None if no user with this id has signed up.

    Raises:
        RetryLater: the registry does not answer.
        Refused: topics are missing. The registry's table is then missing too.
    """
    from notify_streams.admin.topics import require_topics
    from notify_streams.registry.users_table import UsersTable

    await require_topics(settings)
    registry = UsersTable(settings)
    await registry.start()
    try:
        return await registry.get(user_id)
    finally:
        await registry.close()
