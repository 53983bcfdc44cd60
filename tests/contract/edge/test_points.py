"""The contract of every point of presence: fakes and nginx."""

from __future__ import annotations

import pytest

from notify_streams.edge.point_of_presence import edge_key
from notify_streams.edge.pusher import EdgePusher
from notify_streams.records.user_records import LocationRecord
from tests.contract.edge.edge_reader import Reader, edge_record

IDS = ["u-42", "a/b", "..", "sp ace", "ümlaut", "q?x=1&y", "per%cent", "#;^|", "emoji-🎈"]


async def test_what_is_put_is_found_under_any_id(reader: Reader) -> None:
    assert await reader.point.put_many([LocationRecord(user_id, "eu") for user_id in IDS]) == 0
    assert {user_id: await reader.read(user_id) for user_id in IDS} == dict.fromkeys(IDS, '{"region":"eu","version":1}')


async def test_the_last_put_stays_and_a_deleted_one_is_gone(reader: Reader) -> None:
    await reader.point.put_many([LocationRecord("u-1", "us"), LocationRecord("u-2", "us")])
    await reader.point.put_many([LocationRecord("u-1", "eu", 2)])
    await reader.point.delete_many(["u-2", "never-there"])
    assert await reader.read("u-1") == '{"region":"eu","version":2}'
    assert await reader.read("u-2") is None


async def test_a_batch_of_hundreds_arrives_whole_and_twice_is_once(reader: Reader) -> None:
    homes = [LocationRecord(f"u-{number}", "asia", number + 1) for number in range(300)]
    for _ in range(2):
        await reader.point.put_many(homes)
    for number in (0, 150, 299):
        assert await reader.read(f"u-{number}") == f'{{"region":"asia","version":{number + 1}}}'


async def test_a_key_that_no_store_takes_is_counted_and_skipped(reader: Reader) -> None:
    assert await reader.point.put_many([LocationRecord("x" * 600, "eu"), LocationRecord("u-1", "eu")]) == 1
    assert await reader.read("u-1") is not None


async def test_a_move_is_purged_then_written(reader: Reader) -> None:
    push = EdgePusher(reader.point, "eu")
    await push.push([edge_record("u-1", "us")])
    await push.push([edge_record("u-1", "eu", 2, "us"), edge_record("u-2", "us"), edge_record("u-2", None)])
    assert await reader.read("u-1") == '{"region":"eu","version":2}'
    assert await reader.read("u-2") is None
    assert (push.state.purged, push.state.pushed) == (2, 2)


@pytest.mark.parametrize("user_id", IDS)
def test_a_key_has_only_safe_characters(user_id: str) -> None:
    key = edge_key(user_id)
    assert key not in (".", "..")
    assert not set(key) & set("/\\#;?^|\r\n ")
    assert key.isascii()


@pytest.mark.parametrize("user_id", ["x" * 300, "😀" * 128], ids=["300 letters", "128 emoji"])
async def test_a_long_id_neither_stops_the_others_nor_is_answered_wrongly(reader: Reader, user_id: str) -> None:
    refused = await reader.point.put_many([LocationRecord(user_id, "eu"), LocationRecord("u-1", "eu")])
    assert refused == (await reader.read(user_id) is None)
    await reader.point.delete_many([user_id, "u-1"])
    assert await reader.read(user_id) is None and await reader.read("u-1") is None
