"""The local replicator between two DynamoDB Local processes: last writer wins, no loops, nothing lost by a pause or kill."""

from __future__ import annotations

import asyncio
import signal
from functools import partial
from pathlib import Path

from devtools.stack.dynamodb import DynamoDB
from devtools.stack.dynamodb_replicator import Link
from notify_streams.registry.user import User
from notify_streams.registry.users_table import UsersTable
from notify_streams.stores import dynamodb
from tests import waiting
from tests.integration.registry.registry_builders import Replicator, a_user, later

Registries = dict[str, UsersTable]

until = partial(waiting.until, within_s=15.0)


async def both_hold(registries: Registries, *users: User) -> bool:
    wanted = {user.user_id: user for user in users}
    return all([await table.get_many(wanted) == wanted for table in registries.values()])


async def test_a_write_reaches_the_other_region(registries: Registries, replicator: Replicator) -> None:
    before = a_user("before", region="eu")
    await registries["eu"].put(before)
    await replicator.start()
    after = a_user("after")
    await registries["us"].put(after)
    await until(lambda: both_hold(registries, before, after))


async def test_two_regions_that_write_one_user_at_once_agree(registries: Registries, replicator: Replicator) -> None:
    await replicator.start()
    (replicator.folder / "paused").touch()
    await asyncio.sleep(0.3)
    pairs = [
        (a_user("version", version=2), a_user("version", region="eu", version=3)),
        (a_user("time", updated_at=later(1)), a_user("time", region="eu", updated_at=later(0))),
        (a_user("name"), a_user("name", region="eu")),
    ]
    for ours, theirs in pairs:
        await asyncio.gather(registries["us"].put(ours), registries["eu"].put(theirs))
    assert await registries["us"].get("version") == pairs[0][0]
    (replicator.folder / "paused").unlink()
    await until(lambda: both_hold(registries, pairs[0][1], pairs[1][0], pairs[2][0]))


async def test_a_paused_replicator_copies_nothing_and_loses_nothing(
    registries: Registries, replicator: Replicator
) -> None:
    await replicator.start()
    assert replicator.process is not None
    # Each link saves its position after the first copy of the whole table.
    await until(lambda: _first_copies_done(replicator))
    replicator.process.send_signal(signal.SIGUSR1)
    await until(lambda: _exists(replicator))
    await asyncio.sleep(0.3)
    users = [a_user(f"u-{number}") for number in range(30)]
    await registries["us"].put_many(users)
    await asyncio.sleep(0.5)
    assert await registries["eu"].get_many([user.user_id for user in users]) == {}
    replicator.process.send_signal(signal.SIGUSR2)
    await until(lambda: both_hold(registries, *users))


async def test_a_killed_replicator_continues_where_it_stopped(registries: Registries, replicator: Replicator) -> None:
    await replicator.start()
    first = [a_user(f"a-{number}") for number in range(10)]
    await registries["us"].put_many(first)
    await until(lambda: both_hold(registries, *first))
    await replicator.kill()
    second = [a_user(f"b-{number}") for number in range(10)]
    await registries["us"].put_many(second)
    moved = a_user("a-0", region="eu", version=2)
    await registries["eu"].put(moved)
    await replicator.start()
    await until(lambda: both_hold(registries, *second, moved, *first[1:]))


async def test_a_copied_row_is_not_copied_back(
    registries: Registries, replicator: Replicator, dynamodbs: dict[str, DynamoDB], table_name: str
) -> None:
    await replicator.start()
    user = a_user()
    await registries["us"].put(user)
    await until(lambda: both_hold(registries, user))
    await asyncio.sleep(1.0)
    streamed = [await _stream_length(one.address, table_name) for one in dynamodbs.values()]
    assert streamed == [1, 1]


async def test_a_deletion_is_copied(registries: Registries, replicator: Replicator) -> None:
    users = [a_user(f"u-{number}") for number in range(100)]
    await registries["us"].put_many(users[:50])
    await replicator.start()
    await registries["us"].put_many(users[50:])
    await until(lambda: both_hold(registries, *users))
    await asyncio.gather(*(registries["us"].delete(user.user_id, user.version) for user in users))
    # A link reads in order: a row written after the deletions has passed every link after everything that could restore a row.
    for lap in range(2):
        await _pass_every_link(registries, lap)
    for table in registries.values():
        assert await table.get_many([user.user_id for user in users]) == {}


async def test_a_copied_row_does_not_restore_a_deleted_one(
    registries: Registries, replicator: Replicator, dynamodbs: dict[str, DynamoDB], table_name: str, tmp_path: Path
) -> None:
    await replicator.start()
    user, behind = a_user(), a_user("behind", region="eu")
    await registries["us"].put(user)
    await until(lambda: both_hold(registries, user))
    await replicator.kill()
    await registries["us"].delete(user.user_id, user.version)
    await registries["eu"].put(behind)
    urls = {name: one.address for name, one in dynamodbs.items()}
    late = asyncio.create_task(Link("eu", "us", urls, table_name, tmp_path).run())
    await until(lambda: both_hold(registries, behind))
    late.cancel()
    assert await registries["us"].get(user.user_id) is None


async def _pass_every_link(registries: Registries, lap: int) -> None:
    behind = [a_user(f"behind-{name}-{lap}", region=name) for name in registries]
    await asyncio.gather(*(registries[user.region].put(user) for user in behind))
    await until(lambda: both_hold(registries, *behind))


async def _first_copies_done(replicator: Replicator) -> bool:
    return len(list(replicator.folder.glob("*-*.json"))) >= 2


async def _exists(replicator: Replicator) -> bool:
    return (replicator.folder / "paused").exists()


async def _stream_length(url: str, table: str) -> int:
    async with dynamodb.client(url) as client, dynamodb.client(url, "dynamodbstreams") as streams:
        arn = (await client.describe_table(TableName=table))["Table"]["LatestStreamArn"]
        shard = (await streams.describe_stream(StreamArn=arn))["StreamDescription"]["Shards"][0]["ShardId"]
        iterator = await streams.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
        return len((await streams.get_records(ShardIterator=iterator["ShardIterator"]))["Records"])
