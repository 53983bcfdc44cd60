"""A primary that goes away inside the commit of a flush: nothing is lost, nothing is there twice, and the other shard's buckets go on."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devtools.stack.mongodb import Member, Shard
from devtools.stack.ports import free_port
from notify_streams.settings import OutboxSettings
from tests.integration.outbox.conftest import OpenBench
from tests.integration.outbox.moving import Worker, ready
from tests.integration.outbox.outbox_fixtures import EVEN, ODD
from tests.waiting import until

#: A replica set needs a majority of its members to elect, so three are the fewest that outlive one.
MEMBERS = 3


@pytest.fixture(scope="module")
def shard_of_three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shard]:
    folder, first = tmp_path_factory.mktemp("three"), free_port(count=MEMBERS)
    members = [Member(f"three/{at}", folder / str(at), first + at, "three") for at in range(MEMBERS)]
    shard = Shard("three", "three", members)
    try:
        shard.start()
        yield shard
    finally:
        shard.resume()
        shard.stop()


def kill_before_it_hears(shard: Shard, primary: Member) -> None:
    primary.kill()


def kill_while_it_commits(shard: Shard, primary: Member) -> None:
    threading.Timer(0.002, primary.kill).start()


def kill_when_only_it_has_the_commit(shard: Shard, primary: Member) -> None:
    """The others do not hear of it, so what it has committed is rolled back when it returns."""
    others = [member for member in shard.members if member is not primary]
    for member in others:
        member.pause()

    def lose() -> None:
        primary.kill()
        for member in others:
            member.resume()

    threading.Timer(0.2, lose).start()


def step_down(shard: Shard, primary: Member) -> None:
    threading.Thread(target=lambda: primary.admin("replSetStepDown", 5, force=True)).start()


Fault = Callable[[Shard, Member], None]


@pytest.mark.parametrize(
    "fault", [kill_before_it_hears, kill_while_it_commits, kill_when_only_it_has_the_commit, step_down]
)
async def test_a_primary_that_goes_away_in_a_commit_costs_nothing(
    bench_of: OpenBench, mongo_shards: list[str], shard_of_three: Shard, fault: Fault
) -> None:
    bench = await bench_of(
        shards=(shard_of_three.address, mongo_shards[1]),
        outbox=OutboxSettings(transaction_timeout_s=10.0),
        of_shards={"follows": True},
    )
    await ready(bench)
    worker = Worker(bench, (EVEN, ODD))
    await worker.start()
    try:
        await until(lambda: min(worker.done.values()) > 10)
        primary = await asyncio.to_thread(shard_of_three.primary)
        assert primary is not None
        struck = at_the_next_commit(bench, primary, lambda: fault(shard_of_three, primary))
        await until(struck.is_set)
        held, others = worker.done[EVEN], worker.done[ODD]
        await until(lambda: worker.done[ODD] > others + 4)
        await until(lambda: worker.done[EVEN] > held + 4, within_s=60)
        await asyncio.to_thread(shard_of_three.start)
        assert await asyncio.to_thread(shard_of_three.primary) is not primary
        await worker.finish()
    finally:
        await worker.crash()
    assert await bench.trigger_ids() == worker.promised()
    assert await bench.closes() and await bench.rows() == []
    for bucket in (EVEN, ODD):
        mine = [one for one in worker.promised() if one.startswith(f"{bucket}-")]
        assert bench.broker.ids(partition=bucket) == mine


def at_the_next_commit(bench: Any, primary: Member, strike: Callable[[], None]) -> asyncio.Event:
    """Call `strike` when the driver is about to send a commit to this member."""
    struck = asyncio.Event()
    port = int(primary.address.rsplit(":", 1)[1])

    def before(name: str, address: tuple[str, int]) -> None:
        if name == "commitTransaction" and address[1] == port and not struck.is_set():
            struck.set()
            strike()

    bench.commands.before = before
    return struck
