"""The registry's table on DynamoDB Local: conditional writes by version; throttling and missing responses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from devtools.fakes.throttling_proxy import ThrottlingProxy
from devtools.stack.dynamodb import DynamoDB
from notify_streams.errors import RetryLater, SettingsError, StoreUnavailable
from notify_streams.registry.reconciliation import repair
from notify_streams.registry.schema import create_table
from notify_streams.registry.users_table import UsersTable, WriteOutcome
from notify_streams.retry import RetryPolicy
from tests.integration.registry.registry_builders import NOON, a_user, some_settings


@pytest.fixture
async def throttled(
    registry: UsersTable, dynamodbs: dict[str, DynamoDB], table_name: str
) -> AsyncIterator[tuple[ThrottlingProxy, UsersTable]]:
    proxy = ThrottlingProxy(dynamodbs["us"].address)
    await proxy.start()
    table = UsersTable(some_settings("us", proxy.url, table_name), RetryPolicy("test", 0.01, 0.02, max_attempts=4))
    await table.start()
    yield proxy, table
    await table.close()
    await proxy.stop()


async def test_a_row_is_written_once_and_a_repeat_is_same(registry: UsersTable) -> None:
    user = a_user(locale="de", time_zone="Europe/Berlin", standby="asia")
    assert (await registry.put(user)).outcome is WriteOutcome.WRITTEN
    assert await registry.put(user) == (WriteOutcome.SAME, user)
    assert await registry.get(user.user_id) == user


async def test_an_older_version_changes_nothing(registry: UsersTable) -> None:
    newer = a_user(region="eu", version=3, previous="us")
    await registry.put(newer)
    for stale in (
        a_user(version=2),
        a_user(version=3, region="asia"),
        a_user(version=3, region="eu", updated_at=NOON + timedelta(1)),
    ):
        assert await registry.put(stale) == (WriteOutcome.STALE, newer)
    assert await registry.get("u-1") == newer


async def test_of_many_writers_at_once_the_highest_version_stays(registry: UsersTable) -> None:
    writes = [a_user(version=version, region=("us", "eu", "asia")[version % 3]) for version in (3, 1, 5, 2, 4)]
    await asyncio.gather(*map(registry.put, writes))
    held = await registry.get("u-1")
    assert held is not None and held.version == 5


async def test_many_rows_are_read_at_once_and_unknown_users_left_out(registry: UsersTable) -> None:
    users = [a_user(f"u-{number}") for number in range(230)]
    assert {write.outcome for write in await registry.put_many(users)} == {WriteOutcome.WRITTEN}
    found = await registry.get_many([*(user.user_id for user in users), "unknown", "u-1"])
    assert found == {user.user_id: user for user in users}
    pages = [page async for page in registry.scan()]
    assert sorted(user.user_id for page in pages for user in page) == sorted(found)


async def test_what_dynamodb_cannot_hold_is_refused_alone_and_never_repeated(registry: UsersTable) -> None:
    users = [a_user(f"u-{number}") for number in range(12)]
    users[3], users[7] = a_user("x" * 2049), a_user("u-7", version=10**40 + 1)
    writes = await registry.put_many(users)
    assert [number for number, write in enumerate(writes) if write.outcome is WriteOutcome.REFUSED] == [3, 7]
    assert {write.outcome for number, write in enumerate(writes) if number not in (3, 7)} == {WriteOutcome.WRITTEN}
    found = await registry.get_many(user.user_id for user in users)
    assert found.keys() == {user.user_id for user in users} - {users[3].user_id, users[7].user_id}
    assert await registry.get(users[3].user_id) is None


async def test_a_row_that_cannot_be_read_stops_nobody(registry: UsersTable, table_name: str) -> None:
    broken = {"user_id": {"S": "u-1"}, "version": {"N": "1"}, "region": {"S": "us"}}
    await registry.client.put_item(TableName=table_name, Item=broken)
    assert (await registry.put(a_user("u-1"))).outcome is WriteOutcome.REFUSED
    assert await registry.get("u-1") is None
    assert (await registry.put(a_user("u-1", version=2))).outcome is WriteOutcome.WRITTEN


async def test_one_refused_row_refuses_no_other(registry: UsersTable) -> None:
    newer, repeated = a_user("u-3", version=5), a_user("u-4")
    await registry.put(newer)
    await registry.put(repeated)
    users = [a_user(f"u-{number}", version=1) for number in range(150)]
    writes = await registry.put_many(users)
    refused = {write.row.user_id: write.outcome for write in writes if write.outcome is not WriteOutcome.WRITTEN}
    assert refused == {"u-3": WriteOutcome.STALE, "u-4": WriteOutcome.SAME}
    assert [write.row.user_id for write in writes] == [user.user_id for user in users]
    assert await registry.get_many([user.user_id for user in users]) == {user.user_id: user for user in users} | {
        "u-3": newer
    }


async def test_a_lost_topic_is_repaired_from_the_registry(registry: UsersTable) -> None:
    users = {f"u-{number}": a_user(f"u-{number}", region=("us", "eu")[number % 2]) for number in range(1200)}
    await registry.put_many(list(users.values()))
    repairs = [repair(user, None, "us", NOON) async for page in registry.scan() for user in page]
    found = [one for one in repairs if one is not None]
    assert {one.user.user_id: one.user for one in found} == users
    assert all(one.here for one in found)


async def test_an_invalid_row_hides_no_other(registry: UsersTable, table_name: str) -> None:
    await registry.client.put_item(TableName=table_name, Item={"user_id": {"S": "odd"}, "region": {"S": "us"}})
    await registry.put(a_user())
    assert [user for page in [page async for page in registry.scan()] for user in page] == [a_user()]


async def test_a_delete_spares_a_later_version(registry: UsersTable) -> None:
    await registry.put(a_user(version=2))
    assert not await registry.delete("u-1", 1)
    assert await registry.delete("u-1", 2)
    assert await registry.get("u-1") is None


async def test_short_throttling_is_retried(throttled: tuple[ThrottlingProxy, UsersTable]) -> None:
    proxy, table = throttled
    proxy.refuse = 3
    assert (await table.put(a_user())).outcome is WriteOutcome.WRITTEN
    assert proxy.calls["PutItem"] == 4


async def test_lasting_throttling_ends_in_retry_later_after_a_bounded_number_of_calls(
    throttled: tuple[ThrottlingProxy, UsersTable],
) -> None:
    proxy, table = throttled
    proxy.refuse = 1_000
    with pytest.raises(RetryLater) as caught:
        await table.put(a_user())
    assert proxy.calls["PutItem"] == 4
    assert not isinstance(caught.value, StoreUnavailable)
    assert "u-1" not in str(caught.value)


async def test_unprocessed_keys_are_read_again(throttled: tuple[ThrottlingProxy, UsersTable]) -> None:
    proxy, table = throttled
    users = [a_user(f"u-{number}") for number in range(40)]
    await table.put_many(users)
    proxy.leave_unprocessed = 3
    assert len(await table.get_many([user.user_id for user in users])) == 40
    assert proxy.calls["BatchGetItem"] == 4
    proxy.leave_unprocessed = 1_000
    with pytest.raises(RetryLater):
        await table.get_many([user.user_id for user in users])


async def test_a_batch_of_writes_with_one_refusal_is_refused_whole_and_can_be_repeated(
    throttled: tuple[ThrottlingProxy, UsersTable],
) -> None:
    proxy, table = throttled
    users = [a_user(f"u-{number}") for number in range(7)]
    proxy.refuse = 22  # three refusals each would be retried
    with pytest.raises(RetryLater):
        await table.put_many(users)
    proxy.refuse = 0
    assert {write.row for write in await table.put_many(users)} == set(users)


async def test_a_registry_that_is_not_there_is_unavailable_not_empty(table_name: str) -> None:
    table = UsersTable(
        some_settings("us", "http://127.0.0.1:9", table_name), RetryPolicy("test", 0.01, 0.02, max_attempts=2)
    )
    await table.start()
    with pytest.raises(StoreUnavailable):
        await table.get("u-1")
    await table.close()


async def test_a_table_that_is_not_there_names_the_remedy(registry: UsersTable, dynamodbs: dict[str, DynamoDB]) -> None:
    table = UsersTable(some_settings("us", dynamodbs["us"].address, "no-such-table"))
    await table.start()
    with pytest.raises(SettingsError, match="shards init"):
        await table.get("u-1")
    await table.close()


async def test_creating_the_table_twice_is_harmless(registry: UsersTable, table_name: str) -> None:
    await registry.put(a_user())
    await create_table(registry.client, table_name)
    described = (await registry.client.describe_table(TableName=table_name))["Table"]
    assert described["StreamSpecification"]["StreamViewType"] == "NEW_AND_OLD_IMAGES"
    assert await registry.get("u-1") == a_user()
