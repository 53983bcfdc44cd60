"""Operators find what failed, send it again, and stop the calls to a provider."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio

from notify_streams.records.devices import Device, token_sha
from notify_streams.registry.contact_repository import ContactRepository
from notify_streams.stores.mongo import Shards
from tests.e2e.processes import TIMEOUT_S, until
from tests.e2e.running_region import RunningRegion

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200), pytest.mark.asyncio(loop_scope="session")]

Faults = Callable[..., Awaitable[None]]


@pytest_asyncio.fixture(loop_scope="session")
async def fcm_faults(running_region: RunningRegion) -> AsyncIterator[Faults]:
    """Makes the sandbox's FCM answer with these faults; without faults again at the end."""
    url = f"{running_region.settings.providers.fcm}/control"

    async def inject(**plan: Any) -> None:
        async with (
            aiohttp.ClientSession() as http,
            http.post(url, data=orjson.dumps({"provider": "fcm", **plan})) as response,
        ):
            assert response.status == 200, await response.text()

    yield inject
    await inject()


async def push_is(region: RunningRegion, trigger_id: str, state: str, user_id: str = "ada") -> bool:
    return (await region.deliveries(trigger_id, user_id)).get("push") == state


async def test_a_dead_letter_is_explained_and_sent_again(running_region: RunningRegion) -> None:
    trigger_id = await running_region.trigger("late-lou")
    await running_region.audited()
    listed = (await running_region.cli("dead-letters", "list", "--reason", "unknown_user", "--json")).json
    why = (await running_region.why(trigger_id, "--json")).json
    (letter,) = why["dead_letters"]
    assert letter["place"] in {one["place"] for one in listed["dead_letters"]}
    shown = (await running_region.cli("dead-letters", "show", letter["place"], "--json")).json
    assert orjson.loads(shown["value"])["id"] == trigger_id and shown["reason"] == "unknown_user"
    await running_region.sign_up("late-lou")
    await running_region.drained()
    dry = (await running_region.cli("dead-letters", "replay", letter["place"], "--dry-run", "--json")).json
    assert dry["sent"] == 0 and [one["place"] for one in dry["dead_letters"]] == [letter["place"]]
    assert (await running_region.cli("dead-letters", "replay", letter["place"], "--json")).json["sent"] == 1
    await running_region.assert_notified_once(trigger_id)
    story = (await running_region.why(trigger_id, "--json")).json
    (dead,), (notification,) = story["dead_letters"], story["notifications"]
    assert notification["entry"]["replayed_from"] == letter["place"]
    signed_up, replayed = dead["later"]
    assert signed_up.startswith("the user is in the registry: home region us, version 1")
    assert replayed.startswith("replayed and notified in us at ") and notification["notification_id"] in replayed
    of_person = await running_region.why("--user", "late-lou")
    assert (
        f"dead letter {letter['place']}, {dead['at'][:19]}" in of_person.out
        and notification["notification_id"] in of_person.out
    )
    assert f"replayed from dead letter {letter['place']}" in of_person.out and "push   sent" in of_person.out
    refused = await running_region.cli("dead-letters", "replay", "0:999999999")
    assert refused.status == 1 and "no dead letter 0:999999999" in refused.err


async def push_token(region: RunningRegion, user_id: str) -> str | None:
    async with Shards(region.settings) as shards:
        await shards.refresh_directory()
        found = await ContactRepository(shards).read({user_id: region.bucket(user_id)})
    return found[user_id].push


async def test_an_address_that_a_provider_knows_no_longer_is_not_called_again(
    running_region: RunningRegion, fcm_faults: Faults
) -> None:
    """Until the user has given a newer one."""
    await running_region.sign_up("new-phone-nan")
    await running_region.drained()
    await fcm_faults(dead_tokens=["token-new-phone-nan"])
    first = await running_region.trigger("new-phone-nan")
    await until(
        partial(push_is, running_region, first, "failed", "new-phone-nan"), "the push failed", within_s=TIMEOUT_S
    )

    async def is_removed() -> bool:
        return await push_token(running_region, "new-phone-nan") is None

    await until(is_removed, "the address was removed", within_s=TIMEOUT_S)
    await running_region.drained()
    second = await running_region.trigger("new-phone-nan")
    await running_region.audited()
    found = await running_region.deliveries(second, "new-phone-nan")
    assert found == {"push": "suppressed", "email": "sent", "sms": "suppressed"}
    await running_region.sign_up("new-phone-nan", push="a-newer-token")
    await running_region.drained()
    await running_region.assert_notified_once(await running_region.trigger("new-phone-nan"))


async def test_of_two_devices_the_dead_one_is_not_called_again(
    running_region: RunningRegion, fcm_faults: Faults
) -> None:
    """The push is sent by the other one, and `why`, the views and the audit show both."""
    devices = Device("phone-two-dev-dee", "fcm", locale="de"), Device("tablet-two-dev-dee")
    await running_region.sign_up("two-dev-dee", devices=devices)
    await running_region.drained()
    await fcm_faults(dead_tokens=["phone-two-dev-dee"])
    first = await running_region.trigger("two-dev-dee")
    await until(partial(push_is, running_region, first, "sent", "two-dev-dee"), "one took it", within_s=TIMEOUT_S)
    (push,) = [
        one
        for one in (await running_region.why(first, "--json")).json["notifications"][0]["deliveries"]
        if one["channel"] == "push"
    ]
    attempt = push["history"][-1]  # on a loaded machine one before it may say that there was no answer yet
    phone, tablet = (token_sha(device.token) for device in devices)
    assert [(one["token_sha"], one["outcome"], one["code"]) for one in attempt["devices"]] == [
        (phone, "dead_token", "UNREGISTERED"),
        (tablet, "accepted", "HTTP 200"),
    ]
    said = (await running_region.why(first)).out
    assert f"device {phone} (fcm) dead_token UNREGISTERED template de:" in said
    assert f", device {tablet} (fcm) accepted" in said

    async def shown() -> list[str]:
        listed = (await running_region.cli("users", "devices", "two-dev-dee", "--json")).json["devices"]
        return [one["token_sha"] for one in listed]

    async def is_removed() -> bool:
        return await shown() == [tablet]

    await until(is_removed, "the dead one was removed", within_s=TIMEOUT_S)
    await running_region.drained()
    await running_region.assert_notified_once(first, await running_region.trigger("two-dev-dee"))
    await fcm_faults()
    added = await running_region.cli("users", "add", "two-dev-dee", "--device", "fcm:laptop:two-dev-dee")
    assert added.status == 0, added.err
    await running_region.drained()
    assert await shown() == [tablet, token_sha("laptop:two-dev-dee")]
    _, user = await running_region.view("views", "/users/two-dev-dee")
    assert user["contacts"]["push"] is None
    assert [(one["token_end"], one["provider"]) for one in user["contacts"]["devices"]] == [
        ("-dee", None),
        ("-dee", "fcm"),
    ]
    both = await running_region.trigger("two-dev-dee")
    await running_region.audited()
    assert running_region.channels(both) == ["email", "push", "push"], "accepted by each device, and no difference"


async def test_a_failed_delivery_is_replayed(running_region: RunningRegion, fcm_faults: Faults) -> None:
    await running_region.sign_up("failed-fay")
    await running_region.drained()
    await fcm_faults(dead_tokens=["token-failed-fay"])
    trigger_id = await running_region.trigger("failed-fay")
    await until(
        partial(push_is, running_region, trigger_id, "failed", "failed-fay"), "the push failed", within_s=TIMEOUT_S
    )
    await fcm_faults()
    found = (await running_region.cli("deliveries", "list", "--reason", "dead_token", "--json")).json
    (delivery,) = [one for one in found["deliveries"] if one["id"].startswith(f"{trigger_id}-")]
    assert (delivery["state"], delivery["provider"], delivery["code"]) == ("failed", "fcm", "UNREGISTERED")
    dry = (await running_region.cli("deliveries", "replay", delivery["id"], "--dry-run", "--json")).json
    assert dry["replayed"] == [delivery["id"]]
    assert (await running_region.cli("deliveries", "replay", delivery["id"])).status == 0
    await until(
        partial(push_is, running_region, trigger_id, "sent", "failed-fay"), "the push was replayed", within_s=TIMEOUT_S
    )
    await running_region.assert_notified_once(trigger_id)
    refused = await running_region.cli("deliveries", "replay", delivery["id"])
    assert refused.status == 1 and "--again" in refused.err
    (push,) = [
        one
        for one in (await running_region.why(trigger_id, "--json")).json["notifications"][0]["deliveries"]
        if one["channel"] == "push"
    ]
    assert [(one["number"], one["state"], one["code"]) for one in push["history"]] == [
        (1, "failed", "UNREGISTERED"),
        (2, "sent", "HTTP 200"),
    ]


async def test_a_paused_provider_is_not_called(running_region: RunningRegion) -> None:
    async def states() -> set[str]:
        listed = (await running_region.cli("providers", "list", "--json")).json["providers"]
        return {one["state"] for one in listed if (one.get("role"), one["provider"]) == ("push", "fcm")}

    async def is_paused() -> bool:
        return await states() == {"paused"}

    assert (await running_region.cli("providers", "pause", "fcm")).status == 0
    try:
        await until(is_paused, "the workers know the pause", within_s=TIMEOUT_S)
        trigger_id = await running_region.trigger("ada")
        await until(
            lambda: "email" in running_region.channels(trigger_id), "another provider is called", within_s=TIMEOUT_S
        )
        assert running_region.channels(trigger_id) == ["email"]
        assert await push_is(running_region, trigger_id, "queued")
        assert not await running_region.ready("push")
    finally:
        assert (await running_region.cli("providers", "resume", "fcm")).status == 0
    await running_region.assert_notified_once(trigger_id)


async def test_an_outage_of_a_provider_fails_nothing(running_region: RunningRegion, fcm_faults: Faults) -> None:
    await fcm_faults(fail={"status": 503})
    ids = await running_region.triggers(["ada", "user-1", "user-2"], 60)
    await until(partial(push_is, running_region, ids[0], "retrying"), "the outage is noticed", within_s=TIMEOUT_S)
    await fcm_faults()
    await running_region.assert_notified_once(*ids)
