"""Three workers as real processes, added, removed, killed and stopped under load.

Every record is processed at least once, and what is processed twice is bounded by what was in flight: delivered and
not yet committed when a worker went.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.stack.kafka import private_broker
from notify_streams import tasks
from tests.integration.transport.kafka_topics import a_producer, a_topic, unique, until

#: Faust's assignor lets a member keep up to ceil(partitions / members): 6 give each of three members some.
PARTITIONS = 6
DELAY_S = 0.01
#: Delivered and not committed: a commit interval's work (0.2 s), and one batch a partition.
IN_FLIGHT = 2000


class Workers:
    """Processes of one group on one topic, and the file where they note what they processed."""

    def __init__(self, bootstrap: str, topic: str, folder: Path, table: str | None = None) -> None:
        self.log = folder / "processed.log"
        self.log.touch()
        self._folder = folder
        self._options = {
            "bootstrap": bootstrap, "group": unique("workers"), "topic": topic, "log": str(self.log),
            "delay_s": DELAY_S, "table": table,
        }  # fmt: skip
        self.running: list[subprocess.Popen[bytes]] = []

    async def add(self, instance: str | None = None) -> subprocess.Popen[bytes]:
        options = {**self._options, "datadir": str(self._folder / unique("data")), "instance": instance}
        script = Path(__file__).with_name("worker_process.py")
        errors = (self._folder / f"worker-{len(list(self._folder.glob('worker-*')))}.err").open("wb")
        worker = subprocess.Popen([sys.executable, str(script), json.dumps(options)], stderr=errors)  # noqa: ASYNC220
        self.running.append(worker)
        await until(lambda: any(line[:2] == ["ready", str(worker.pid)] for line in self.lines()), "ready", within_s=25)
        return worker

    def end(self, worker: subprocess.Popen[bytes], how: signal.Signals) -> None:
        os.kill(worker.pid, how)
        if how in (signal.SIGKILL, signal.SIGTERM):
            worker.wait(15)
            self.running.remove(worker)

    def end_all(self) -> None:
        for worker in list(self.running):
            worker.send_signal(signal.SIGCONT)
            worker.kill()
            worker.wait(15)

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.log.read_text().splitlines()]

    def processed(self) -> Counter[str]:
        return Counter(value for line in self.lines() if line[0] == "batch" for value in line[5:])


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Workers]]:
    made: list[Workers] = []
    yield made
    for workers in made:
        workers.end_all()


class Load:
    """Sends numbered records until it is stopped."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap, self._topic = bootstrap, topic
        self.sent = 0

    async def __aenter__(self) -> "Load":
        self._task = asyncio.create_task(self._send())
        await until(lambda: self.sent > 500)
        return self

    async def __aexit__(self, *_: object) -> None:
        await tasks.stop([self._task])

    async def _send(self) -> None:
        async with a_producer(self._bootstrap, acks="all", enable_idempotence=True) as producer:
            while True:
                futures = [
                    await producer.send(self._topic, b"%d" % n, partition=n % PARTITIONS)
                    for n in range(self.sent, self.sent + 50)
                ]
                await asyncio.gather(*futures)
                self.sent += 50
                await asyncio.sleep(0.02)


async def begin(
    started: list[Workers], bootstrap: str, tmp_path: Path, count: int, table: bool = False
) -> tuple[Workers, Load]:
    topic = await a_topic(bootstrap, PARTITIONS)
    rows = await a_topic(bootstrap, PARTITIONS, **{"cleanup.policy": "compact"}) if table else None
    workers = Workers(bootstrap, topic, tmp_path, rows)
    started.append(workers)
    for _ in range(count):
        await workers.add()
    return workers, Load(bootstrap, topic)


async def all_processed(workers: Workers, load: Load, twice_at_most: int) -> None:
    wanted = {str(n) for n in range(load.sent)}
    await until(lambda: wanted <= workers.processed().keys(), "every record processed", within_s=30)
    twice = sum(count - 1 for value, count in workers.processed().items())
    assert twice <= twice_at_most, f"{twice} processed again"


async def further(load: Load, workers: Workers, records: int = 1500) -> None:
    """The work goes on: this many more records are sent and processed."""
    target = load.sent + records
    await until(lambda: load.sent >= target and len(workers.processed()) >= target - 500, "work goes on", within_s=30)


@pytest.mark.parametrize("table", [False, True], ids=["no table", "with a table"])
async def test_workers_added_and_removed_lose_nothing(
    kafka_bootstrap: str, started: list[Workers], tmp_path: Path, table: bool
) -> None:
    workers, load = await begin(started, kafka_bootstrap, tmp_path, 1, table)
    async with load:
        second, _ = await workers.add(), await workers.add()
        await further(load, workers)
        workers.end(second, signal.SIGTERM)
        await further(load, workers)
    # An orderly change waits for what is in flight and commits it; a batch over the drain's end may come again.
    await all_processed(workers, load, twice_at_most=IN_FLIGHT)


@pytest.mark.parametrize("table", [False, True], ids=["no table", "with a table"])
async def test_a_killed_worker_loses_nothing(
    kafka_bootstrap: str, started: list[Workers], tmp_path: Path, table: bool
) -> None:
    workers, load = await begin(started, kafka_bootstrap, tmp_path, 3, table)
    async with load:
        await further(load, workers)
        workers.end(workers.running[0], signal.SIGKILL)
        await further(load, workers)
        workers.end(workers.running[0], signal.SIGKILL)
        await workers.add()
        await further(load, workers)
    await all_processed(workers, load, twice_at_most=2 * IN_FLIGHT)


async def test_a_worker_stopped_past_its_session_loses_nothing_and_comes_back(
    kafka_bootstrap: str, started: list[Workers], tmp_path: Path
) -> None:
    workers, load = await begin(started, kafka_bootstrap, tmp_path, 3)
    async with load:
        await further(load, workers)
        stopped = workers.running[0]
        workers.end(stopped, signal.SIGSTOP)
        others = {str(worker.pid) for worker in workers.running[1:]}

        def partitions_of_others() -> set[str]:
            return {line[2] for line in workers.lines()[-200:] if line[0] == "batch" and line[1] in others}

        await until(lambda: len(partitions_of_others()) == PARTITIONS, "the others took over")
        before = len(workers.lines())
        workers.end(stopped, signal.SIGCONT)
        await until(
            lambda: any(line[:2] == ["batch", str(stopped.pid)] for line in workers.lines()[before + 50 :]),
            "the stopped worker works again",
        )
        await further(load, workers)
    await all_processed(workers, load, twice_at_most=2 * IN_FLIGHT)


async def test_a_static_member_finds_its_partitions_again_and_others_do_not_stand(
    kafka_bootstrap: str, started: list[Workers], tmp_path: Path
) -> None:
    workers, load = await begin(started, kafka_bootstrap, tmp_path, 0)
    other, restarted = await workers.add("one"), await workers.add("two")

    def partitions(worker: subprocess.Popen[bytes], since: int) -> set[str]:
        return {line[2] for line in workers.lines()[since:] if line[:2] == ["batch", str(worker.pid)]}

    async with load:
        await until(lambda: partitions(other, 0) and partitions(restarted, 0), "both work")
        since = len(workers.lines())
        await until(
            lambda: len(partitions(other, since) | partitions(restarted, since)) == PARTITIONS, "each has its own"
        )
        of_other, of_restarted = partitions(other, since), partitions(restarted, since)
        workers.end(restarted, signal.SIGTERM)
        stopped = len(workers.lines())
        await until(lambda: partitions(other, stopped) == of_other, "the other one goes on meanwhile")
        again = await workers.add("two")
        await until(lambda: partitions(again, stopped) == of_restarted, "its partitions are its own again")
        await further(load, workers)
        assert partitions(other, stopped) == of_other, "nothing moved"
    await all_processed(workers, load, twice_at_most=IN_FLIGHT)


async def test_a_restarted_broker_is_survived(started: list[Workers], tmp_path: Path) -> None:
    with private_broker(tmp_path / "kafka") as broker:
        workers, load = await begin(started, broker.address, tmp_path, 2, table=True)
        async with load:
            await further(load, workers)
            broker.stop()
            broker.start()
            await further(load, workers)
        await all_processed(workers, load, twice_at_most=2 * IN_FLIGHT)
        assert all(worker.poll() is None for worker in workers.running), "no worker had to be restarted"
        workers.end_all()
