"""What reads or writes every shard goes on with those that answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from notify_streams.delivery.pauses import ProviderPauses
from notify_streams.delivery.reputation import ReputationCounts
from notify_streams.erasure.store import ErasureStore
from notify_streams.errors import StoreUnavailable
from notify_streams.settings import Settings
from notify_streams.stores.mongo import Shards

pytestmark = pytest.mark.stack

NOW = datetime.now(UTC)
NOWHERE = "mongodb://127.0.0.1:9/"
#: So long each call tries the shard that is away.
TIMEOUT_S = 1.5


async def opened(shards: tuple[str, ...], name: str) -> Shards:
    settings = Settings(region="us", kafka="none", redis="none", shards=shards, database=name)
    found = Shards(settings, serverSelectionTimeoutMS=200)
    await found.start()
    return found


@pytest.fixture(params=[0, 1])
async def shards(mongo_shards: list[str], request: pytest.FixtureRequest) -> AsyncIterator[Shards]:
    """Two shards, of which the one or the other is away."""
    name = f"t{uuid4().hex[:12]}"
    addresses = [mongo_shards[0], mongo_shards[0]]
    addresses[request.param] = NOWHERE
    found = await opened(tuple(addresses), name)
    yield found
    await found.client(1 - request.param).drop_database(name)
    await found.close()


async def test_a_pause_is_written_on_the_shards_that_answer(shards: Shards) -> None:
    pauses = ProviderPauses(shards, TIMEOUT_S)
    with pytest.raises(StoreUnavailable):
        await pauses.pause("fcm")
    assert set(await pauses.read()) == {"fcm"}
    with pytest.raises(StoreUnavailable):
        await pauses.resume("fcm")
    assert await pauses.read() == {}


async def test_what_the_shards_that_answer_have_counted_can_pause_a_category(shards: Shards) -> None:
    counts = ReputationCounts(shards, TIMEOUT_S)
    await counts.add({("marketing", "example.org", NOW): {"sent": 20, "bounced": 9}})
    (found,) = (await counts.rates(NOW - timedelta(hours=1))).items()
    assert (found[0], found[1].handed, found[1].bounced) == ("marketing", 20, 9)


async def test_erasures_on_the_shards_that_answer_are_taken(shards: Shards) -> None:
    store = ErasureStore(shards, b"k" * 32, TIMEOUT_S)
    here = next(bucket for bucket in shards.all_buckets() if shards.of(bucket) == _answering(shards))
    await store.open("ada", here, NOW)
    assert [one.user_id for one in await store.take_due(NOW)] == ["ada"]
    with pytest.raises(StoreUnavailable):
        await store.take_due(NOW)


def _answering(shards: Shards) -> int:
    return int(shards._settings.shards[0] == NOWHERE)
