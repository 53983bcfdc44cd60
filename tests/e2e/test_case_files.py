"""Records that once broke a promise, one test a fault: each ends as it must, and the audit closes."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from zlib import crc32

import aiohttp
import pytest

from devtools.chaos.fuzz.corpus import Seed, cases
from notify_streams.admin.audit.topics import TopicReader
from notify_streams.app import web_port
from notify_streams.topics import PREFERENCE_UPDATES, RECEIPTS, USER_CONTACTS, USER_SIGNUPS
from tests.builders import trigger_json
from tests.e2e.processes import until
from tests.e2e.running_region import RecordPosition, RunningRegion, a_new_id, wait_until_known

pytestmark = [
    pytest.mark.stack,
    pytest.mark.drill,
    pytest.mark.timeout(1800),
    pytest.mark.asyncio(loop_scope="session"),
]


def seeds(case: str) -> list[Seed]:
    """The records of a case; their times are those of this call."""
    return cases(datetime.now(UTC))[case]


def user_of(seed: Seed) -> str:
    fields = json.loads(seed.value or b"{}")
    fields = fields.get("data", fields) if "specversion" in fields else fields
    return str(fields.get("user_id") or (seed.key or b"").decode())


async def send(region: RunningRegion, seed: Seed, partition: int | None = None) -> RecordPosition:
    """To the bucket of its user, or to `partition`."""
    return await region.send(seed.topic, seed.value, key=user_of(seed), partition=partition)


async def send_all(region: RunningRegion, case: str) -> list[RecordPosition]:
    return [await send(region, seed) for seed in seeds(case)]


async def reasons(region: RunningRegion, *places: RecordPosition) -> list[str | None]:
    """The reason of each record's dead letter; None without one."""
    letters = await region.dead_letters()
    return [letters[place].diagnosis["reason"] if place in letters else None for place in places]


async def put_out(region: RunningRegion, user_id: str, category: str, channel: str) -> int:
    """The status of a `PUT` that opts out."""
    token = region.settings.web_write_token
    assert token is not None
    url = f"http://127.0.0.1:{web_port(region.settings, 'views')}/users/{user_id}/preferences/{category}/{channel}"
    headers = {"Authorization": f"Bearer {token.reveal()}"}
    async with aiohttp.ClientSession() as http, http.put(url, data=b'{"opted_in": false}', headers=headers) as response:
        return response.status


async def notified_by(region: RunningRegion, user_id: str, **but: object) -> list[str]:
    """Send a trigger; the channels that it went by."""
    trigger_id = await region.trigger(user_id, **but)
    await region.audited()
    return region.channels(trigger_id)


async def a_neighbour_is_notified(region: RunningRegion, bucket: int) -> None:
    """A new user of the bucket signs up, stops push, and is notified by mail."""
    user_id = next(one for one in iter(lambda: a_new_id("neighbour"), "") if region.bucket(one) == bucket)
    await region.sign_up(user_id, opted_out=[("payments", "push")])
    await region.drained()
    await wait_until_known(region, user_id)
    assert await notified_by(region, user_id) == ["email"]


@pytest.mark.parametrize("case", ["01", "02"], ids=["another partition", "another shard"])
async def test_records_in_the_partition_of_their_crc32_and_a_stop_that_stays(
    running_region: RunningRegion, case: str
) -> None:
    region, user_id = running_region, user_of(seeds(case)[0])
    astray = crc32(user_id.encode()) % region.settings.partitions
    assert astray != region.bucket(user_id)
    *first, stop = seeds(case)
    for seed in first:
        await send(region, seed, astray)
    await region.drained()
    await wait_until_known(region, user_id)
    assert await put_out(region, user_id, "payments", "push") == 200
    assert await notified_by(region, user_id, channels=["push"]) == []
    await send(region, stop)  # in its own bucket
    await a_neighbour_is_notified(region, region.bucket(user_id))
    await a_neighbour_is_notified(region, astray)
    if case == "02":
        await asyncio.sleep(region.settings.preferences.delta_ttl_s + 10)
        assert await notified_by(region, user_id, channels=["push"]) == []


@pytest.mark.parametrize("wrong", [USER_CONTACTS, USER_SIGNUPS])
async def test_contacts_or_a_sign_up_in_another_partition(running_region: RunningRegion, wrong: str) -> None:
    region, user_id = running_region, a_new_id("astray")
    there = (region.bucket(user_id) + 1) % region.settings.partitions
    for seed in seeds("03")[:2]:
        renamed = Seed(seed.topic, (seed.value or b"").replace(b'"astray"', b'"%s"' % user_id.encode()))
        await send(region, renamed, there if seed.topic == wrong else None)
    await region.drained()
    await wait_until_known(region, user_id)
    trigger_id = await region.trigger(user_id, channels=["push"])
    await region.audited()
    (message,) = region.provider_log()[trigger_id]
    receipt = {"delivery_id": message.delivery_id, "state": "delivered", "at": datetime.now(UTC).isoformat()}
    # A webhook knows the delivery's id alone.
    await region.send(RECEIPTS, json.dumps(receipt).encode(), key=message.delivery_id)

    async def delivered() -> bool:
        return await region.deliveries(trigger_id, user_id) == {"push": "delivered"}

    await until(delivered, "the receipt is applied")


@pytest.mark.parametrize("case", ["04", "06"], ids=["a version of 41 digits", "version 0"])
async def test_a_sign_up_that_no_store_can_hold(running_region: RunningRegion, case: str) -> None:
    (place,) = await send_all(running_region, case)
    await a_neighbour_is_notified(running_region, place.partition)
    assert await reasons(running_region, place) == ["invalid"]
    status, _ = await running_region.view("views", f"/users/{user_of(seeds(case)[0])}")
    assert status == 404


async def test_a_sign_up_of_year_2_and_a_valid_one_after_it(running_region: RunningRegion) -> None:
    places = await send_all(running_region, "05")
    await a_neighbour_is_notified(running_region, places[0].partition)
    assert await reasons(running_region, *places) == ["invalid", None]
    status, user = await running_region.view("views", "/users/zerodate")
    assert (status, user["home"]["region"]) == (200, "us")


async def test_contacts_dated_2099_do_not_win_over_later_ones(running_region: RunningRegion) -> None:
    region = running_region
    await region.send(USER_SIGNUPS, b'{"user_id":"fut","region":"us","updated_at":"2026-01-01T00:00:00Z"}', key="fut")
    await send(region, seeds("07")[0])
    await region.drained()
    await wait_until_known(region, "fut")
    await send(region, seeds("07")[1])
    await region.drained()
    _, user = await region.view("views", "/users/fut")
    assert (user["contacts"]["push"], user["contacts"]["email"]) == ("tok-new", "new@example.org")
    assert await notified_by(region, "fut") == ["email", "push"]


async def test_ids_with_control_characters_are_refused(running_region: RunningRegion) -> None:
    places = await send_all(running_region, "09")
    await running_region.audited()
    assert await reasons(running_region, *places) == ["invalid"] * 3


async def test_ids_of_128_characters_of_any_kind_reach_the_mail_server(running_region: RunningRegion) -> None:
    await send_all(running_region, "10")
    await running_region.audited()
    for seed in seeds("10"):
        assert running_region.channels(json.loads(seed.value or b"")["id"]) == ["email"]


async def test_a_template_that_does_not_exist(running_region: RunningRegion) -> None:
    places = await send_all(running_region, "11")
    await running_region.audited()
    assert await reasons(running_region, *places) == ["unknown_template"]


async def test_one_id_of_three_sources_is_three_triggers(running_region: RunningRegion) -> None:
    before = await running_region.audited()
    await send_all(running_region, "12")
    after = await running_region.audited()
    assert after["notified"] - before["notified"] == 3
    assert running_region.channels("7") == ["email"] * 3 + ["push"] * 3


async def test_the_same_content_in_other_bytes_is_a_duplicate(running_region: RunningRegion) -> None:
    before = await running_region.audited()
    await send_all(running_region, "13")
    after = await running_region.audited()
    assert (after["notified"] - before["notified"], after["duplicate"] - before["duplicate"]) == (1, 2)
    assert running_region.channels("idem-1") == ["push"]


async def test_data_cannot_forge_marks(running_region: RunningRegion) -> None:
    """Names of an application are its own; only reserved names, here `from`, are refused."""
    places = await send_all(running_region, "14")
    await running_region.audited()
    assert await reasons(running_region, *places) == [None, "invalid"]
    (message,) = running_region.provider_log()["forge-1"]
    assert not message.critical and not message.possible_duplicate


async def test_a_push_that_fcm_would_refuse_says_so(running_region: RunningRegion) -> None:
    await send_all(running_region, "15")
    await running_region.audited()
    for trigger_id in ("big-1", "big-2"):
        _, found = await running_region.view("views", f"/notifications/security/{trigger_id}")
        (notification,) = found["notifications"]
        (push,) = [one for one in notification["deliveries"] if one["channel"] == "push"]
        assert (push["state"], push["reason"]) == ("failed", "too_large")


async def test_contacts_that_no_sender_takes_are_refused(running_region: RunningRegion) -> None:
    places = await send_all(running_region, "16")
    await a_neighbour_is_notified(running_region, places[0].partition)
    assert await reasons(running_region, *places) == ["invalid"] * 5


async def test_an_international_domain_gets_mail(running_region: RunningRegion) -> None:
    region = running_region
    await region.send(USER_SIGNUPS, b'{"user_id":"idn","region":"us","updated_at":"2026-01-01T00:00:00Z"}', key="idn")
    await send_all(region, "17")
    await region.drained()
    await wait_until_known(region, "idn")
    assert await notified_by(region, "idn") == ["email"]


async def test_no_withdrawal_is_lost(running_region: RunningRegion) -> None:
    region = running_region
    await region.sign_up("skew")
    await region.sign_up("clear", sms="+15550000042")
    await region.drained()
    await wait_until_known(region, "skew", "clear")
    ahead, misspelt, without_sms, in_ms, tombstone = seeds("18")
    assert ahead.topic == PREFERENCE_UPDATES and tombstone.value is None
    places = [await send(region, seed) for seed in (ahead, misspelt, without_sms, in_ms)]
    await region.drained()
    assert await notified_by(region, "skew") == ["email"]
    _, user = await region.view("views", "/users/clear")
    found = {channel: user["contacts"][channel] for channel in ("push", "sms", "email")}
    assert found == {"push": "tok-c", "sms": None, "email": "c@example.org"}
    assert await reasons(region, *places) == [None, "unknown_category", None, "invalid"]
    await send(region, tombstone)
    await region.drained()
    assert await notified_by(region, "clear") == []
    _, user = await region.view("views", "/users/clear")
    assert not any((user["contacts"] or {}).get(channel) for channel in ("push", "sms", "email"))


async def test_an_old_timestamp_of_a_record_is_not_its_age(running_region: RunningRegion) -> None:
    """By the sender's time the broker's retention would delete it before it is read."""
    trigger_id = a_new_id("old")
    value = trigger_json(id=trigger_id, user_id="ada")
    await running_region.send("triggers.payments", value, key="ada", timestamp_ms=978_307_200_000)
    await running_region.assert_notified_once(trigger_id)
    async with TopicReader(running_region.settings) as topics:
        (at_ms,) = [one.timestamp async for _, one in topics.read(["triggers.payments"]) if one.value == value]
    assert abs(at_ms / 1000 - time.time()) < 60
