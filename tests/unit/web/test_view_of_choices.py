"""PUT of a choice where regions may change hands: 200 only from the region that serves the person, before and after it was stored."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from notify_streams.errors import StoreUnavailable
from notify_streams.preferences.writer import StoredChoice
from notify_streams.regions.failover.placement import Placement
from notify_streams.regions.failover.protocol import HomeRegion
from notify_streams.regions.locations import Location
from notify_streams.web.placement import current_placement

PATH = "/users/ann/preferences/marketing/push"
RIGHT = {"Authorization": "Bearer the-token"}
AT_HOME = Placement("us", {"us": HomeRegion("us")})
STANDS_IN = Placement("us", {"us": HomeRegion("us"), "eu": HomeRegion("us", 1, "us", 1)})
LEAVES = Placement("us", {"us": HomeRegion(None, 1, "eu", 1)})
GONE = Placement("us", {"us": HomeRegion("eu", 1, "eu", 1)})


@dataclass
class Learnt:
    """A `Learning` that has learnt this by the time of each look; the last one stays."""

    looks: list[Placement | None]
    waiting_for: str | None = "this region's control log"

    @property
    def placement(self) -> Placement | None:
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]


@dataclass
class Writer:
    """Takes every choice."""

    taken: list = field(default_factory=list)

    async def put(self, user_id, *choice):
        self.taken.append(user_id)
        return StoredChoice(1, datetime.now(UTC))


@pytest.mark.parametrize(
    ("home", "looks", "status", "stored"),
    [
        ("us", [AT_HOME], 200, True),
        ("eu", [STANDS_IN], 200, True),
        ("us", [GONE], 421, False),
        ("us", [LEAVES], 421, False),
        ("us", [AT_HOME, LEAVES], 503, True),
        ("us", [None], 503, False),
    ],
    ids=[
        "at home",
        "stood in for",
        "served elsewhere",
        "on the way elsewhere",
        "leaves meanwhile",
        "nothing learnt yet",
    ],
)
async def test_only_the_region_that_serves_somebody_promises_anything(visit, new_worker, home, looks, status, stored):
    worker = new_worker("standard")
    worker.locate = {"ann": Location(home, 0, 1, None)}.get
    worker.placement_follower = Learnt(list(looks))
    worker.preferences.writer = writer = Writer()
    client = await visit(worker)
    answer = await client.put(PATH, headers=RIGHT, data=b'{"opted_in": false}')
    assert answer.status == status
    assert (answer.status == 503) is ("Retry-After" in answer.headers)
    assert bool(writer.taken) is stored


async def test_who_serves_whom_is_never_guessed(new_worker):
    worker = new_worker("standard")
    worker.placement_follower = Learnt([None])
    with pytest.raises(StoreUnavailable, match="control log"):
        await current_placement(worker)
