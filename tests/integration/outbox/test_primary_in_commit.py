"""A primary fails during a commit: nothing is lost or doubled, other shards go on."""

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from devtools.stack.mongodb import Member, Shard
from devtools.stack.ports import free_port
from notify_streams.settings import OutboxSettings
from tests.integration.outbox.conftest import OpenBench
from tests.integration.outbox.move_fixtures import Worker, initialised
from tests.integration.outbox.outbox_fixtures import EVEN, ODD, Bench
from tests.waiting import until

#: An election needs a majority, so at least three members are needed to survive the loss of one.
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


def kill_before_the_commit_arrives(shard: Shard, primary: Member) -> None:
    primary.kill()


def kill_during_the_commit(shard: Shard, primary: Member) -> None:
    threading.Timer(0.002, primary.kill).start()


def kill_before_the_commit_is_replicated(shard: Shard, primary: Member) -> None:
    """The commit is on the primary only, so it is rolled back when the member returns."""
    others = [member for member in shard.members if member is not primary]
    for member in others:
        member.pause()

    def kill() -> None:
        primary.kill()
        for member in others:
            member.resume()

    threading.Timer(0.2, kill).start()


def step_down(shard: Shard, primary: Member) -> None:
    threading.Thread(target=lambda: primary.admin("replSetStepDown", 5, force=True)).start()


Fault = Callable[[Shard, Member], None]


@pytest.mark.parametrize(
    "fault", [kill_before_the_commit_arrives, kill_during_the_commit, kill_before_the_commit_is_replicated, step_down]
)
async def test_a_primary_that_fails_during_a_commit_loses_nothing(
    bench_of: OpenBench, mongo_shards: list[str], shard_of_three: Shard, fault: Fault
) -> None:
    bench = await bench_of(
        shards=(shard_of_three.address, mongo_shards[1]),
        outbox=OutboxSettings(transaction_timeout_s=10.0),
        shards_options={"follows": True},
    )
    await initialised(bench)
    worker = Worker(bench, (EVEN, ODD))
    await worker.start()
    try:
        await until(lambda: min(worker.done.values()) > 10)
        primary = await asyncio.to_thread(shard_of_three.primary)
        assert primary is not None
        injected = at_the_next_commit(bench, primary, lambda: fault(shard_of_three, primary))
        await until(injected.is_set)
        before, others = worker.done[EVEN], worker.done[ODD]
        await until(lambda: worker.done[ODD] > others + 4)
        await until(lambda: worker.done[EVEN] > before + 4, within_s=60)
        await asyncio.to_thread(shard_of_three.start)
        assert await asyncio.to_thread(shard_of_three.primary) is not primary
        await worker.finish()
    finally:
        await worker.crash()
    assert await bench.trigger_ids() == worker.acknowledged()
    assert await bench.ledgers_add_up() and await bench.rows() == []
    for bucket in (EVEN, ODD):
        expected = [one for one in worker.acknowledged() if one.startswith(f"{bucket}-")]
        assert bench.broker.ids(partition=bucket) == expected


def at_the_next_commit(bench: Bench, primary: Member, fault: Callable[[], None]) -> asyncio.Event:
    """Call `fault` when the driver is about to send a commit to `primary`; the event is set then."""
    injected = asyncio.Event()
    port = int(primary.address.rsplit(":", 1)[1])

    def before(name: str, address: tuple[str, int]) -> None:
        if name == "commitTransaction" and address[1] == port and not injected.is_set():
            injected.set()
            fault()

    bench.commands.before = before
    return injected
