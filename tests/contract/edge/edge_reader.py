"""Reads a point of presence as a client does; builds the records that are pushed."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

import aiohttp
from yarl import URL

from devtools.fakes.edge_server import FakeEdgeServer
from notify_streams.edge.point_of_presence import PointOfPresence, edge_key
from notify_streams.records.user_records import LocationRecord, encode_record
from tests.builders import ARecord


@dataclass
class Reader:
    point: PointOfPresence
    session: aiohttp.ClientSession
    edge_server: FakeEdgeServer | None = None
    url: str = ""

    async def read(self, user_id: str) -> str | None:
        """The stored value, None on a miss."""
        if self.edge_server is not None:
            return self.edge_server.stored.get(edge_key(user_id))
        url = URL(f"{self.url}/{quote(edge_key(user_id), safe='')}", encoded=True)
        async with self.session.get(url, headers={"Authorization": "Bearer read"}) as response:
            if response.status != 200:
                return None
            assert "max-age" in response.headers["Cache-Control"]
            return await response.text()


def edge_record(user_id: str, region: str | None, version: int = 1, previous: str | None = None) -> ARecord:
    """A record of `edge.<name>`; without a region: the user was deleted."""
    value = None if region is None else encode_record(LocationRecord(user_id, region, version, previous))
    return ARecord(value, key=user_id.encode())
