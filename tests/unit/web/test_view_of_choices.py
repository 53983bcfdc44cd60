"""PUT of a choice is acknowledged only by the region that serves the user before and after the write."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

import pytest

from notify_streams.errors import StoreUnavailable
from notify_streams.preferences.writer import PreferenceWriter, StoredChoice
from notify_streams.regions.failover.placement import Placement
from notify_streams.regions.failover.placement_follower import PlacementFollower
from notify_streams.regions.failover.protocol import HomeRegion
from notify_streams.regions.locations import Location
from notify_streams.web.placement import current_placement
from tests.unit.web.conftest import WRITE_TOKEN, NewWorker, Visit

PATH = "/users/ann/preferences/marketing/push"
RIGHT = {"Authorization": f"Bearer {WRITE_TOKEN}"}
AT_HOME = Placement("us", {"us": HomeRegion("us")})
STANDBY = Placement("us", {"us": HomeRegion("us"), "eu": HomeRegion("us", 1, "us", 1)})
LEAVING = Placement("us", {"us": HomeRegion(None, 1, "eu", 1)})
GONE = Placement("us", {"us": HomeRegion("eu", 1, "eu", 1)})


@dataclass
class FakeFollower:
    """A fake `PlacementFollower`: each read returns the next placement; the last one stays."""

    placements: list[Placement | None]
    waiting_for: str | None = "this region's control log"

    @property
    def placement(self) -> Placement | None:
        return self.placements.pop(0) if len(self.placements) > 1 else self.placements[0]


@dataclass
class Writer:
    """A fake writer that notes the user ids."""

    stored_for: list[str] = field(default_factory=list)

    async def put(self, user_id: str, *_: object) -> StoredChoice:
        self.stored_for.append(user_id)
        return StoredChoice(1, datetime.now(UTC))


@pytest.mark.parametrize(
    ("home", "placements", "status", "stored"),
    [
        ("us", [AT_HOME], 200, True),
        ("eu", [STANDBY], 200, True),
        ("us", [GONE], 421, False),
        ("us", [LEAVING], 421, False),
        ("us", [AT_HOME, LEAVING], 503, True),
        ("us", [None], 503, False),
    ],
    ids=[
        "home region",
        "standby region",
        "another region",
        "released",
        "released during the write",
        "placement unknown",
    ],
)
async def test_only_the_serving_region_acknowledges(
    visit: Visit, new_worker: NewWorker, home: str, placements: list[Placement | None], status: int, stored: bool
) -> None:
    worker = new_worker()
    worker.locate = {"ann": Location(home, 0, 1, None)}.get
    worker.placement_follower = cast("PlacementFollower", FakeFollower(list(placements)))
    writer = Writer()
    worker.preferences.writer = cast("PreferenceWriter", writer)
    client = await visit(worker)
    response = await client.put(PATH, headers=RIGHT, data=b'{"opted_in": false}')
    assert response.status == status
    assert (response.status == 503) is ("Retry-After" in response.headers)
    assert bool(writer.stored_for) is stored


async def test_an_unknown_placement_is_an_error(new_worker: NewWorker) -> None:
    worker = new_worker()
    worker.placement_follower = cast("PlacementFollower", FakeFollower([None]))
    with pytest.raises(StoreUnavailable, match="control log"):
        current_placement(worker)
