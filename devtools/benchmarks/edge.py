"""`notify-streams bench edge`: look-ups at a point of presence and the view."""

from __future__ import annotations

import asyncio
import time
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from devtools.benchmarks.region import REGION, local_region, worker_pool
from devtools.benchmarks.results import Figure, Goal, beside, report
from devtools.benchmarks.router.load import bench_users
from devtools.percentiles import percentiles_of
from devtools.stack import Stack
from devtools.stack.nginx import nginx_program
from notify_streams.app import web_port
from notify_streams.cli.output import print_progress
from notify_streams.edge.single_key_stores import http_store
from notify_streams.errors import NotifyError
from notify_streams.records.user_records import LocationRecord
from notify_streams.roles import VIEWS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from devtools.percentiles import Percentiles
    from notify_streams.settings import Settings

HIT, MISS, VIEW = "hit at the edge", "miss at the edge", "the region's view"
#: The edge must not be slower than what it takes the place of, before any distance is saved.
GOAL: Final = Goal("at most", 1.0, of_ratio=True)
#: Below the limit of the views' server: 100 requests a second.
_PAUSE_S: Final = 0.02


async def measure(folder: Path, lookups: int, rounds: int) -> dict[str, Any]:
    """Start a local region in `folder` with its views, measure, stop and wipe it.

    Raises:
        NotifyError: there is no nginx.
    """
    if nginx_program() is None:
        raise NotifyError("the point of presence is nginx, which is not installed (apt-get install nginx-light)")
    runs: dict[str, list[Percentiles]] = {HIT: [], MISS: [], VIEW: []}
    async with local_region(folder) as settings, worker_pool(folder) as pool, aiohttp.ClientSession() as http:
        # At the port at which nginx asks the region.
        views = await pool.start(VIEWS, port=web_port(settings, VIEWS))
        await views.wait_until_ready()
        # A user is asked about once: what nginx keeps of the region's answers shortens no other look-up.
        users = iter(bench_users())
        cases = _cases(folder, settings, views.url)
        for number in range(rounds):
            for case, (url, token) in cases.items():
                asked = list(islice(users, lookups))
                if case == HIT:
                    await _push(settings, http, asked)
                found = percentiles_of(await _look_up(http, url, token, asked))
                runs[case].append(found)
            print_progress(
                f"round {number + 1}, p50: {', '.join(f'{case} {of[-1].p50} ms' for case, of in runs.items())}"
            )
    return report(figures(runs), lookups=lookups * rounds)


def figures(runs: Mapping[str, Sequence[Percentiles]]) -> list[Figure]:
    """The medians of the rounds, each beside that of the view."""
    found = []
    for name in ("p50", "p99"):
        view = [getattr(one, name) for one in runs[VIEW]]
        for case in (HIT, MISS):
            goal = GOAL if (case, name) == (HIT, "p50") else None
            found.append(beside(f"{case}, {name}", [getattr(one, name) for one in runs[case]], "ms", goal, VIEW, view))
    return found


def _cases(folder: Path, settings: Settings, views: str) -> dict[str, tuple[str, str]]:
    """Case → URL of the locations, bearer token."""
    assert settings.web_edge_token is not None
    at_the_edge = settings.edge[0].url, Stack(folder, environment={}).region(REGION).plan.tokens["edge_read"]
    return {HIT: at_the_edge, VIEW: (f"{views}/locations", settings.web_edge_token.reveal()), MISS: at_the_edge}


async def _push(settings: Settings, http: aiohttp.ClientSession, users: Sequence[str]) -> None:
    pop = settings.edge[0]
    point = http_store(pop.name, pop.url, pop.token.reveal(), http)
    await point.put_many([LocationRecord(user_id, REGION) for user_id in users])


async def _look_up(http: aiohttp.ClientSession, url: str, token: str, users: Sequence[str]) -> list[float]:
    """Seconds of each look-up, one after the other on a kept connection."""
    found = []
    for user_id in users:
        began = time.perf_counter()
        async with http.get(f"{url}/{user_id}", headers={"Authorization": f"Bearer {token}"}) as response:
            body = await response.json() if response.status == 200 else None
        found.append(time.perf_counter() - began)
        if body != {"region": REGION, "version": 1}:
            raise NotifyError(f"status {response.status} for a user who is there")
        await asyncio.sleep(_PAUSE_S)
    return found
