"""Background loops of a worker: an unknown error ends none of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from notify_streams.delivery.dead_addresses import DeadAddresses
from notify_streams.delivery.providers import ProviderOutcome, ProviderResult
from notify_streams.delivery.refused_addresses import RefusedAddresses
from notify_streams.delivery.reputation import Reputation
from notify_streams.records.batch import OutboxRecord
from notify_streams.records.outcomes import DeliveryState, Reason
from notify_streams.stores.bucket_directory import BucketDirectory
from notify_streams.worker_registration import WorkerEntry, WorkerRegistration
from tests.builders import a_message, some_settings
from tests.waiting import until


class Defect:
    """Raises an unknown error at the first calls."""

    def __init__(self, failures: int = 1) -> None:
        self.failures = failures
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise LookupError("defect")


async def test_dead_addresses_are_reported_after_a_defect() -> None:
    defect = Defect()
    published: list[OutboxRecord] = []

    async def publish(records: Iterable[OutboxRecord]) -> None:
        defect()
        published.extend(records)

    reporter = DeadAddresses(publish)
    await reporter.start()
    reporter.add(3, a_message(user_id="u"), "gone", 1)
    await until(lambda: defect.calls == 1)
    reporter.add(3, a_message(user_id="v"), "gone", 1)
    await until(lambda: published)
    await reporter.stop()
    assert [record[2] for record in published] == [b"v"]


async def test_an_address_that_meets_a_defect_delays_no_other() -> None:
    defect = Defect()

    class Stops:
        suppresses_addresses = True

        def __init__(self) -> None:
            self.suppressed: list[str] = []

        async def suppress_address(self, channel: str, address: str, *others: Any) -> None:
            defect()
            self.suppressed.append(address)

    stops: Any = Stops()
    addresses = RefusedAddresses(stops)
    await addresses.start()
    for number in ("+15550100200", "+15550100201"):
        message = a_message(channel="sms", to=number)
        addresses.add(message, ProviderResult(outcome=ProviderOutcome.REJECTED, provider="twilio", code="21610"))
    await until(lambda: len(stops.suppressed) == 2)
    await addresses.stop()


class Collection:
    """Of counts and pauses."""

    def __init__(self, defect: Defect) -> None:
        self.defect = defect
        self.counted = 0
        self.looks = 0

    async def bulk_write(self, updates: Any, ordered: bool) -> None:
        self.defect()
        self.counted += len(updates)

    def find(self, query: Any) -> Any:
        self.looks += 1
        return self

    async def to_list(self) -> list[Any]:
        return []

    async def delete_many(self, query: Any) -> None: ...


class Shards:
    """One shard, with one collection."""

    def __init__(self, collection: Any) -> None:
        self.collection = collection

    def __len__(self) -> int:
        return 1

    def database(self, shard: int) -> Shards:
        return self

    def __getitem__(self, name: str) -> Any:
        return self.collection


async def test_mails_are_counted_after_a_defect_and_the_limits_looked_at() -> None:
    collection = Collection(Defect())
    shards: Any = Shards(collection)
    reputation = Reputation(some_settings(), shards)
    await reputation.start()
    reputation.count_end("marketing", DeliveryState.FAILED, Reason.DEAD_TOKEN.value)
    await until(lambda: collection.looks)
    await reputation.stop()
    assert (collection.defect.calls, collection.counted) == (2, 1), "what was not stored is stored later"


async def test_a_bounce_that_comes_while_the_limits_are_read_is_looked_at() -> None:
    class Late(Collection):
        async def to_list(self) -> list[Any]:
            if self.looks == 1:
                reputation.count_receipt("marketing", Reason.BOUNCED.value)
            return []

    collection = Late(Defect(failures=0))
    shards: Any = Shards(collection)
    reputation = Reputation(some_settings(), shards)
    reputation.count_receipt("marketing", Reason.BOUNCED.value)
    await reputation.flush()
    await reputation.flush()
    assert collection.looks == 2


async def test_a_worker_gives_signs_of_life_after_a_defect() -> None:
    defect = Defect()

    class Redis:
        beats = 0

        async def eval(self, *arguments: Any) -> bytes:
            self.beats += 1
            return b"1"

        async def hdel(self, *arguments: Any) -> None: ...

        async def aclose(self) -> None: ...

    def describe(worker_id: str) -> WorkerEntry:
        defect()
        return WorkerEntry(worker_id, "push", "localhost", 1, 0, "1")

    redis: Any = Redis()
    registration = WorkerRegistration(redis, "us", describe, every_s=0.01)
    await registration.start()
    await until(lambda: redis.beats)
    await registration.stop()


async def test_the_bucket_directory_is_read_after_a_defect() -> None:
    defect = Defect(failures=0)

    class Cursor:
        async def to_list(self) -> list[Any]:
            return []

    class Entries:
        async def aggregate(self, pipeline: Any) -> Cursor:
            defect()
            return Cursor()

    database: Callable[[int], Any] = lambda shard: {"moved": Entries()}  # noqa: E731
    directory = BucketDirectory(lambda bucket: 0, database, ["a shard"], 0.03, 1.0, 8)
    await directory.start_polling()
    defect.failures = defect.calls + 1
    await until(lambda: directory.expired())
    await until(lambda: not directory.expired())
    await directory.stop_polling()
