"""The views of running workers show what is in Kafka, MongoDB and the registry."""

import asyncio
import time
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from notify_streams.outbox.row_ids import row_id
from notify_streams.records.devices import token_sha
from notify_streams.records.partitioner import bucket_of
from notify_streams.stores.mongo import LEDGER, OUTBOX
from notify_streams.topics import trigger_topics
from tests.integration.web.views_region import ARegion, bearer, eventually


async def send(region: ARegion, person: str, value: bytes | None = None, **but: object) -> str:
    """One trigger on its topic; returns its id."""
    trigger = {"id": f"t-{uuid4()}", "user_id": person, "category": "payments", "title": "Hello", "body": "there"} | but
    await region.upstream.send([("triggers.payments", person, value or msgspec.json.encode(trigger), ())])
    return str(trigger["id"])


def push_of(found: Any) -> Any:
    """The delivery by push of the first notification."""
    return next(one for one in found["notifications"][0]["deliveries"] if one["channel"] == "push")


def in_outbox(found: Any) -> bool:
    """Whether a delivery of the first notification is still to be published."""
    return any(one["in_outbox_since"] for one in found["notifications"][0]["deliveries"])


async def test_the_story_of_a_trigger_is_a_page_for_a_browser(region: ARegion) -> None:
    person = f"<b>{region.run}"
    trigger = f"t-<script>{region.run}"
    await send(region, person, id=trigger, category="none")
    address = f"/notifications/{quote(trigger)}"
    await eventually(partial(region.get, address), lambda got: got[0] == 200)
    headers = {**bearer(region.settings.web_read_token), "Accept": "text/html"}
    for path in (address, f"/notifications?user={quote(person)}"):
        async with region.http.get(region.url(path), headers=headers) as response:
            text = await response.text()
        assert response.status == 200 and response.content_type == "text/html"
        assert "unknown_category" in text and "triggers.payments" in text
        assert "&lt;script&gt;" in text and f"<script>{region.run}" not in text and f"<b>{region.run}" not in text


async def page(region: ARegion) -> str:
    async with region.http.get(region.url("/")) as response:
        return await response.text()


async def test_a_trigger_is_found_with_its_deliveries_and_without_its_siblings(region: ARegion) -> None:
    ann = region.person("ann")
    trigger = await send(region, ann)
    # Ids that begin alike, above and below it in the index's order.
    await send(region, ann, id=f"{trigger}-0")
    await send(region, ann, id=f"{trigger}0")
    _, found = await eventually(
        partial(region.get, f"/notifications/{trigger}"),
        lambda got: got[0] == 200 and push_of(got[1])["state"] == "sent" and not in_outbox(got[1]),
    )
    assert [one["user_id"] for one in found["notifications"]] == [ann]
    assert {one["channel"] for one in found["notifications"][0]["deliveries"]} == {"push", "email", "sms"}
    assert found["notifications"][0]["entry"]["topic"] == "triggers.payments"
    (call,) = push_of(found)["history"]
    assert call["to"] == token_sha(f"token-{ann}") and call["took_ms"] >= 0 and f"token-{ann}" not in str(found)
    assert {one["region"]: bool(one["problems"]) for one in found["regions"]} == {"us": False, "eu": True, "asia": True}
    _, of_person = await region.get(f"/notifications?user={ann}&limit=100")
    assert trigger in [one["trigger_id"] for one in of_person["notifications"]]
    of_provider = f"/notifications?provider_id={quote(call['provider_id'], safe='')}"
    _, of_message = await eventually(partial(region.get, of_provider), lambda got: got[0] == 200)
    assert [one["trigger_id"] for one in of_message["notifications"]] == [trigger]
    status, of_system = await region.get(f"/notifications/payments/{trigger}")
    assert (status, of_system["notifications"]) == (200, found["notifications"])
    assert (await region.get(f"/notifications/security/{trigger}"))[0] == 404


async def test_an_unknown_trigger_is_404(region: ARegion) -> None:
    status, found = await region.get("/notifications/t-never")
    assert status == 404
    assert found["notifications"] == []


async def test_a_person_is_shown(region: ARegion) -> None:
    ann = region.person("ann")
    status, found = await region.get(f"/users/{ann}")
    assert status == 200
    assert found["contacts"]["email"] == f"{ann}@example.org"
    assert (found["home"]["region"], found["bucket"]) == ("us", bucket_of(ann, region.settings.partitions))
    assert found["preferences"]["categories"]["marketing"]["push"]["default"] == "in"


async def test_a_person_whom_another_region_serves_is_not_shown_beyond_that(region: ARegion) -> None:
    status, found = await region.get(f"/users/{region.person('bob')}")
    assert status == 200
    assert found["served_by"] == "eu"
    assert "contacts" not in found
    assert "preferences" not in found


async def test_who_never_signed_up_is_404(region: ARegion) -> None:
    assert (await region.get(f"/users/unknown-{region.run}"))[0] == 404
    assert (await region.get(f"/users/{'x' * 2_100}"))[0] == 404
    assert (await region.get("/users/odd%2Fid%20%7C"))[0] == 404


async def test_a_choice_that_was_answered_with_200_is_seen(region: ARegion) -> None:
    ann = region.person("ann")
    path = f"/users/{ann}/preferences/marketing/push"
    for opted_in in (False, True, False):
        body = b'{"opted_in": true}' if opted_in else b'{"opted_in": false}'
        status, answer = await region.put(path, body)
        assert status == 200
        _, found = await region.get(f"/users/{ann}")
        assert found["preferences"]["version"] == answer["version"]
        assert found["preferences"]["categories"]["marketing"]["push"]["sends"] is opted_in


async def test_a_choice_for_a_user_of_another_region_is_refused_and_not_stored(region: ARegion) -> None:
    bob = region.person("bob")
    status, answer = await region.put(f"/users/{bob}/preferences/marketing/push", b'{"opted_in": false}')
    assert status == 421
    assert answer["served_by"] == "eu"
    preferences = region.shards.collection("preferences", bucket_of(bob, region.settings.partitions))
    assert await preferences.find_one({"_id": bob}) is None
    assert (await region.put(f"/users/unknown-{region.run}/preferences/marketing/push", b'{"opted_in": false}'))[
        0
    ] == 404


async def test_the_ledger_closes_until_a_row_is_wrong(region: ARegion) -> None:
    trigger = await send(region, region.person("ann"))
    await eventually(lambda: region.get(f"/notifications/{trigger}"), lambda got: got[0] == 200)
    status, found = await region.get("/ledger")
    assert status == 200
    assert found["closes"]
    assert found["complete"]
    assert found["total"]["taken"] >= 1
    assert found["total"]["taken"] == sum(one["taken"] for one in found["ledgers"] if "notified" in one)
    wrong = {"_id": f"drill:{region.run}:0", "bucket": 0, "role": "drill", "topic": region.run, "partition": 0}
    wrong |= dict.fromkeys(("first_offset", "taken", "other_lane", "holes", "lost"), 0)
    wrong |= dict.fromkeys(("notified", "forwarded", "repartitioned", "dead", "duplicate", "waiting"), 0)
    rows = region.shards.collection(LEDGER, 0)
    await rows.insert_one(wrong | {"next_offset": 1})
    try:
        _, found = await eventually(lambda: region.get("/ledger"), lambda got: not got[1]["closes"])
        assert found["open_rows"] == [wrong["_id"]]
        assert [one["closes"] for one in found["ledgers"] if one["role"] == "drill"] == [False]
        await eventually(partial(page, region), lambda text: "</span>is open</span>" in text)
    finally:
        await rows.delete_one({"_id": wrong["_id"], "bucket": 0})


async def test_an_unpublished_row_is_shown_with_its_age(region: ARegion) -> None:
    ids = [row_id("drill", 3, f"{time.time_ns() - age_s * 10**9:016x}c0ffee00", 0) for age_s in (60, 3_600)]
    row = {"bucket": 3, "topic": "push", "count": 1, "records": b"", "created_at": datetime.now(UTC)}
    rows = region.shards.collection(OUTBOX, 3)
    await rows.insert_many([row | {"_id": key} for key in ids])
    try:
        _, found = await eventually(lambda: region.get("/outbox"), lambda got: "drill" in str(got[1]))
        drill = [one for one in found["buckets"] if one["role"] == "drill"]
        assert [(one["bucket"], one["rows"], one["shard"]) for one in drill] == [(3, 2, region.settings.shard_of(3))]
        before_s = drill[0]["oldest_s"]
        assert 3_600 <= before_s < 3_630
        await eventually(lambda: region.get("/outbox"), lambda got: got[1]["oldest_s"] > before_s)
        assert found["rows"] >= 2
    finally:
        await rows.delete_many({"bucket": 3, "_id": {"$regex": "^drill:"}})


async def test_lag_goes_to_nothing_and_scrapes_show_it(region: ARegion) -> None:
    await send(region, region.person("ann"))

    def caught_up(got: tuple[int, Any]) -> bool:
        ours = [one for one in got[1].get("partitions", ()) if one["topic"] == "triggers.payments"]
        return sum(one["end"] for one in ours) >= 1 and all(one["position"] == one["end"] for one in ours)

    _, found = await eventually(lambda: region.get("/lag", "standard"), caught_up)
    assert found["records"] == 0
    assert len(found["partitions"]) == len(trigger_topics(region.settings)) * region.settings.partitions
    async with region.http.get(region.url("/metrics", "standard")) as answer:
        families = {one.name: one for one in text_string_to_metric_families(await answer.text())}
    assert len(families["notify_lag_records"].samples) == len(found["partitions"])
    taken = {
        one.labels["outcome"]: one.value for one in families["notify_triggers"].samples if one.name.endswith("_total")
    }
    assert taken["notified"] >= 1


async def test_dead_letters_are_counted_and_the_newest_shown_with_values_only_on_demand(region: ARegion) -> None:
    ann = region.person("ann")
    await send(region, ann, b"not json, but ours")
    _, found = await eventually(
        lambda: region.get("/dead-letters?limit=1"),
        # The sums are read before the letters: the first answer that has the letter may not have counted it yet.
        lambda got: (
            got[0] == 200
            and got[1]["newest"]
            and got[1]["newest"][0]["key"] == ann
            and got[1]["reasons"].get("not_json", 0) >= 1
        ),
    )
    assert found["complete"]
    letter = found["newest"][0]
    assert (letter["reason"], letter["topic"], letter["bytes"]) == ("not_json", "triggers.payments", 18)
    assert "value" not in letter
    _, found = await region.get("/dead-letters?limit=1&values=true")
    assert found["newest"][0]["value"] == "not json, but ours"
    assert (await region.get("/dead-letters?limit=1000"))[0] == 400


async def test_records_for_another_region_are_counted(region: ARegion) -> None:
    def waiting(payload: dict[str, Any]) -> Any:
        return {one["region"]: one["waiting_records"] for one in payload["regions"]}["eu"]

    _, before = await region.get("/regions")
    await send(region, region.person("bob"))
    _, after = await eventually(lambda: region.get("/regions"), lambda got: waiting(got[1]) == waiting(before) + 1)
    assert after["standby"] == "eu"


async def test_the_page_shows_the_other_workers(region: ARegion) -> None:
    trigger = await send(region, region.person("ann"))
    await eventually(
        lambda: region.get(f"/notifications/{trigger}"),
        lambda got: got[0] == 200 and push_of(got[1])["state"] == "sent",
    )
    text = await eventually(
        partial(page, region), lambda text: "<span>fcm</span>" in text
    )  # only the push worker calls it
    assert text.count("✓</span>ready") == 3
    _, summary = await region.get("/", "push")
    assert summary["role"] == "push"
    assert any(one["state"] == "sent" for one in summary["deliveries"])


async def test_many_at_once_are_answered(region: ARegion) -> None:
    paths = ("/ledger", "/outbox", "/lag", "/live", "/ready") * 10
    found = await asyncio.gather(*(region.get(path) for path in paths))
    assert {status for status, _ in found} == {200}
    found = await asyncio.gather(*(region.get(path, "standard") for path in ("/lag", "/live", "/ready", "/") * 10))
    assert {status for status, _ in found} == {200}
