"""Prepares a region for its workers: topics, shards, registry. Safe to repeat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams.admin.shards import init_shards
from notify_streams.admin.topics import apply_topic_settings, ensure_topics
from notify_streams.registry.schema import create_table
from notify_streams.registry.users_table import UsersTable
from notify_streams.stores.mongo import Shards

if TYPE_CHECKING:
    from notify_streams.settings import Settings


async def bootstrap_region(settings: Settings) -> None:
    """Create everything that a worker needs.

    Raises:
        NotifyError: a service does not answer or refuses; the message says which.
    """
    await ensure_topics(settings)
    await apply_topic_settings(settings)
    async with Shards(settings) as shards:
        await init_shards(settings, shards)
    await create_registry(settings)


async def create_registry(settings: Settings) -> None:
    """Create the registry's table in DynamoDB Local.

    On AWS nothing is asked: one command creates the table for all regions (`admin.registry_table`), and who prepares a region needs no
    identity there.

    Raises:
        RetryLater: the table is not active in time.
        SettingsError: the registry refuses, or there are no credentials.
    """
    if settings.dynamodb is None:
        return
    users = UsersTable(settings)
    await users.start()
    try:
        await create_table(users.client, settings.users_table, timeout_s=60.0)
    finally:
        await users.close()
