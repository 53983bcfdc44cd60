"""What a client at the edge reads, whatever the point of presence is, and the records that are pushed there."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

import aiohttp
from yarl import URL

from devtools.fakes.edge_server import FakeEdgeServer
from notify_streams.edge.point_of_presence import PointOfPresence, key_of
from notify_streams.records.user_records import LocationRecord
from notify_streams.regions.locations import encode_location_record


@dataclass
class Reader:
    point: PointOfPresence
    session: aiohttp.ClientSession
    standin: FakeEdgeServer | None = None
    url: str = ""

    async def read(self, user_id: str) -> str | None:
        """The stored value, None on a miss."""
        if self.standin is not None:
            return self.standin.stored.get(key_of(user_id))
        async with self.session.get(URL(f"{self.url}/{quote(key_of(user_id), safe='')}", encoded=True)) as response:
            if response.status != 200:
                return None
            assert "max-age" in response.headers["Cache-Control"]
            return await response.text()


class Record:
    """A record of `edge.<name>`."""

    def __init__(self, user_id: str, region: str | None, version: int = 1, previous: str | None = None) -> None:
        self.key: bytes | None = user_id.encode()
        self.value = region and encode_location_record(LocationRecord(user_id, region, version, previous))
