"""However many choices a batch has, no document and no command becomes larger than MongoDB takes."""

from datetime import timedelta
from typing import Any

import bson

from notify_streams.preferences.choices import EMPTY_RECORD, Choice, ChoiceChange, PreferenceRecord, merge
from notify_streams.preferences.compare_and_swap import RecordSwap, compare_and_swap
from notify_streams.preferences.consents import complete_consents
from notify_streams.preferences.mongo_document import fields_of
from notify_streams.preferences.repository import PreferenceRepository
from notify_streams.records.user_records import MAX_DETAIL
from notify_streams.roles import CHANNELS
from tests.unit.preferences.preference_builders import NOON

LONGEST = "\U0001f600" * MAX_DETAIL
MAX_DOCUMENT = 16 * 2**20
#: The driver sends no larger command by `Database.command`, although MongoDB takes 48 MB.
MAX_COMMAND = MAX_DOCUMENT


class OneShard:
    def of(self, bucket: int) -> int:
        return 0

    def __len__(self) -> int:
        return 1


class InMemory(PreferenceRepository):
    """Merges without a database."""

    def __init__(self) -> None:
        shards: Any = OneShard()
        super().__init__(shards)
        self.records: dict[str, PreferenceRecord] = {}
        self.written: list[PreferenceRecord] = []

    async def _swap_on(self, shard: int, users: Any) -> Any:
        found = {}
        for user_id, (_, changes) in users.items():
            found[user_id] = merge(self.records.get(user_id, EMPTY_RECORD), changes, NOON)
        self.records |= found
        self.written += found.values()
        return {}, found

    async def _add_to_history(self, shard: int, users: Any, *results: Any) -> None:
        return


async def test_a_user_who_chooses_very_often_in_one_batch() -> None:
    repository = InMemory()
    changes = [
        (0, "ann", ChoiceChange(1, "sms", number % 2 == 0, NOON + timedelta(seconds=number), detail=LONGEST))
        for number in range(30_000)
    ]
    seen: list[dict[str, PreferenceRecord]] = []

    async def then(records: dict[str, PreferenceRecord]) -> None:
        seen.append(dict(records))

    bob = (0, "bob", ChoiceChange(1, "sms", False, NOON))
    records = await repository.apply([bob, *changes], then)
    assert records.keys() == {"ann", "bob"} and seen == [records]
    assert (records["ann"].version, records["ann"].choices[1]["sms"].opted_in) == (30_000, False)
    for record in repository.written:
        assert len(bson.encode(fields_of(record))) < MAX_DOCUMENT


async def test_many_users_who_choose_everything_at_once() -> None:
    sizes: list[int] = []

    class Database:
        async def command(self, command: dict[str, Any]) -> dict[str, Any]:
            sizes.append(len(command["documents"]))
            return {"n": len(command["documents"])}

    choice = Choice(False, NOON, 1, detail=LONGEST)
    record = PreferenceRecord(1, {number: dict.fromkeys(CHANNELS, choice) for number in range(40)})
    database: Any = Database()
    swaps = [RecordSwap(f"u-{number}", 0, EMPTY_RECORD, record) for number in range(500)]
    assert await compare_and_swap(database, swaps) == set()
    assert sum(sizes) == 500
    assert max(sizes) * len(bson.encode(fields_of(record))) < MAX_COMMAND


async def test_a_long_history_is_looked_for_in_parts() -> None:
    asked: list[str] = []

    class Collection:
        def find(self, query: dict[str, Any], *_: Any, **__: Any) -> Any:
            assert len(bson.encode(query)) < MAX_DOCUMENT
            asked.extend(query["_id"]["$in"])
            self.found = [{"_id": one} for one in query["_id"]["$in"]]
            return self

        async def to_list(self) -> list[dict[str, str]]:
            return self.found

    database: Any = {"consents": Collection()}
    documents = [{"_id": f"{LONGEST[:128]}:{number}", "bucket": 0} for number in range(50_000)]
    await complete_consents(database, documents)
    assert asked == [one["_id"] for one in documents]
    await complete_consents(database, [])
