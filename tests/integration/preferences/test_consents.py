"""The history of choices: each choice that was acknowledged has one document, whatever failed in between."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from notify_streams.errors import StoreUnavailable
from notify_streams.preferences.choices import ChoiceChange
from notify_streams.preferences.consents import read_consents
from notify_streams.records.choice_sources import ChoiceSource
from notify_streams.stores.mongo import CONSENTS, Shards
from tests.integration.preferences.conftest import OpenEnv
from tests.integration.preferences.preference_fixtures import BUCKET, ProcessPreferences, an_update, now, put

pytestmark = pytest.mark.stack


async def history(shards: Shards, user_id: str = "u-1") -> list[dict[str, Any]]:
    return await read_consents(shards, BUCKET, user_id)


def versions(documents: list[dict[str, Any]]) -> list[int]:
    return [int(one["_id"].rpartition(":")[2]) for one in documents]


async def test_each_way_to_choose_leaves_a_document_with_its_source(env_of: OpenEnv) -> None:
    env = await env_of()
    await env.writer.put("u-1", BUCKET, "marketing", "email", True, now(), ChoiceSource.API)
    await env.writer.put("u-1", BUCKET, "marketing", "email", False, now(), ChoiceSource.ONE_CLICK, "n-1.email")
    later = now() + timedelta(seconds=1)
    await env.writer.apply_updates([(BUCKET, an_update(opted_in=True, updated_at=later))])
    imported = an_update(opted_in=False, updated_at=later + timedelta(seconds=1), source=ChoiceSource.IMPORT)
    await env.writer.import_updates([(BUCKET, imported)])
    await put(env, "u-1:2")  # an id that begins with the other one and a colon
    found = await history(env.shards)
    assert versions(found) == [1, 2, 3, 4]
    assert [(one["category"], one["channel"], one["opted_in"], one["source"], one["detail"]) for one in found] == [
        (2, "email", True, "api", ""),
        (2, "email", False, "one_click", "n-1.email"),
        (2, "push", True, "app", ""),
        (2, "push", False, "import", ""),
    ]
    assert {one["user_id"] for one in found} == {"u-1"} and {one["bucket"] for one in found} == {BUCKET}
    record = await env.repository.read(BUCKET, "u-1")
    assert record.choices[2]["email"].source is ChoiceSource.ONE_CLICK


async def test_no_choice_of_many_at_once_is_missing(env_of: OpenEnv) -> None:
    """Two processes, by hand and in batches, several changes of one choice in one batch too."""
    first, second = await env_of(), await env_of()
    start = now()

    async def batch(env: ProcessPreferences, number: int) -> None:
        updates = [
            an_update(opted_in=bool(step % 2), updated_at=start + timedelta(milliseconds=10 * number + step))
            for step in range(4)
        ]
        await env.writer.apply_updates([(BUCKET, update) for update in updates])

    works = [put((first, second)[number % 2], opted_in=bool(number % 3)) for number in range(40)]
    batches = [batch((first, second)[number % 2], number) for number in range(20)]
    await asyncio.gather(*works, *batches)
    record = await first.repository.read(BUCKET, "u-1")
    assert versions(await history(first.shards)) == list(range(1, record.version + 1))


async def test_what_a_crash_left_out_is_added_before_anything_is_acknowledged(env_of: OpenEnv) -> None:
    """The history takes no writes for a moment: the choices are stored, their callers get an error."""
    env = await env_of()
    at = now()
    several = [
        (BUCKET, "u-1", ChoiceChange(2, "push", opted_in, at + timedelta(milliseconds=number)))
        for number, opted_in in enumerate([True, False, True])
    ]
    database = env.shards.database(env.shards.of(BUCKET))
    await database.create_collection(CONSENTS, validator={"bucket": -1})
    with pytest.raises(StoreUnavailable):
        await env.repository.apply(several)
    assert (await env.repository.read(BUCKET, "u-1")).version == 3 and not await history(env.shards)
    # Another process would replace the choice: not before it is in the history.
    with pytest.raises(StoreUnavailable):
        await put(env)
    assert (await env.repository.read(BUCKET, "u-1")).version == 3
    await database.command({"collMod": CONSENTS, "validator": {}})
    await put(env)
    assert versions(await history(env.shards)) == [1, 2, 3, 4]
    await env.repository.apply(several)  # the batch is read again
    assert versions(await history(env.shards)) == [1, 2, 3, 4]


async def test_a_batch_that_is_read_again_adds_the_documents_that_a_crash_left_out(env_of: OpenEnv) -> None:
    env = await env_of()
    several = [(BUCKET, f"u-{number}", ChoiceChange(2, "push", True, now())) for number in range(20)]
    await env.repository.apply(several)
    collection = env.shards.collection(CONSENTS, BUCKET)
    await collection.delete_many({"_id": {"$in": ["u-3:1", "u-7:1"]}})
    await env.repository.apply(several)
    assert await collection.count_documents({"bucket": BUCKET}) == 20
