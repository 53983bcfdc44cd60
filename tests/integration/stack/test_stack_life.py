"""The commands up, status and down: interrupted, concurrent, with ports taken."""

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from devtools.stack import Stack, StackFailed

pytestmark = pytest.mark.stack

SERVICES = {"us/kafka", "us/shard0", "us/shard1", "us/redis", "us/dynamodb", "us/sandbox"}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of this module with region us up."""
    own = Stack(tmp_path_factory.mktemp("life"), environment={})
    try:
        assert {*own.up(["us"])} >= SERVICES
        yield own
    finally:
        own.down(wipe=True)
        assert [file.name for file in own.folder.iterdir()] == ["lock"]


def cli(stack: Stack, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NOTIFY_STACK_DIR": str(stack.folder)}
    command = [sys.executable, "-m", "devtools.stack", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stderr
    return done


def pids(stack: Stack) -> dict[str, int | None]:
    return {service.name: service.process.pid for service in stack.region("us").services}


def sessions_of(stack: Stack) -> set[int]:
    """The session of every live process whose working directory is in the stack's folder."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "cwd").readlink().is_relative_to(stack.folder):
                found.add(os.getsid(int(entry.name)))
    return found


def listening(stack: Stack) -> list[IPv4Address | IPv6Address]:
    """The address of each listening socket of the processes whose working directory is in the stack's folder."""
    sockets = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "cwd").readlink().is_relative_to(stack.folder):
                sockets |= {str(file.readlink()) for file in (entry / "fd").iterdir()}
    found: list[IPv4Address | IPv6Address] = []
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                words = bytes.fromhex(fields[1].partition(":")[0])
                address = ip_address(b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4)))
                found.append(getattr(address, "ipv4_mapped", None) or address)
    return found


def test_a_second_up_starts_nothing(up: Stack) -> None:
    before = pids(up)
    assert up.up(["us"]) == []
    assert pids(up) == before


def test_the_settings_file_has_the_addresses_of_the_services(up: Stack) -> None:
    settings = up.settings("us")
    assert settings["kafka"] == up.region("us").kafka.address
    assert len(settings["shards"]) == 2
    assert settings["remote_kafka"] == {}
    assert settings["web_read_token"] and settings["web_write_token"] and settings["web_port_base"]
    assert Path(settings["sandbox_record"]).is_absolute()
    assert Path(settings["data_dir"]).is_relative_to(up.folder / "us"), "`down --wipe` removes the workers' logs"
    assert up.settings_file("us").read_text().startswith("# Written by")


def test_a_transaction_commits_on_a_shard_of_one_member(up: Stack) -> None:
    with MongoClient[dict[str, Any]](up.settings("us")["shards"][0]) as client:
        with client.start_session() as session, session.start_transaction():
            client.notify.kept.insert_one({"_id": "before"}, session=session)
        assert client.notify.kept.count_documents({}) == 1


def test_every_service_listens_on_loopback_only(up: Stack) -> None:
    found = listening(up)
    assert len(found) >= len(up.region("us").services)
    assert {address for address in found if not address.is_loopback} == set()


def test_files_with_tokens_are_their_owner_s(up: Stack) -> None:
    assert up.folder.stat().st_mode & 0o777 == 0o700
    tokens = up.region("us").plan.tokens.values()
    holders = [
        file for file in up.folder.rglob("*") if file.is_file() and any(t.encode() in file.read_bytes() for t in tokens)
    ]
    assert {file.name for file in holders} >= {"us.yaml", "state.json"}
    assert {file.name for file in holders if file.stat().st_mode & 0o077} == set()


def test_status_exits_with_0_only_if_everything_responds(up: Stack) -> None:
    report = json.loads(cli(up, "status", "--json").stdout)
    assert report["holds"] is True
    assert report["regions"]["us"]["kafka"]["pid"] == pids(up)["us/kafka"]
    redis = up.region("us").redis
    redis.kill()
    try:
        done = cli(up, "status", "--json", check=False)
        assert done.returncode == 1
        assert json.loads(done.stdout)["regions"]["us"]["redis"]["state"] == "stopped"
    finally:
        assert redis.start() is True
    assert cli(up, "status").returncode == 0


def test_a_paused_service_does_not_respond_until_it_is_resumed(up: Stack) -> None:
    kafka = up.region("us").kafka
    kafka.pause()
    assert kafka.state == "paused" and not kafka.is_healthy()
    kafka.resume()
    kafka.wait_until_healthy()
    assert kafka.is_healthy()


def test_a_killed_region_keeps_its_data(up: Stack) -> None:
    region = up.region("us")
    region.kill()
    assert {service.state for service in region.services} == {"stopped"}
    assert len(region.start()) == len(region.components)
    with MongoClient[dict[str, Any]](region.shards[0].address) as client:
        assert client.notify.kept.find_one() == {"_id": "before"}


def test_down_stops_only_its_own_processes_and_up_finds_the_data(up: Stack) -> None:
    foreign = subprocess.Popen(["/bin/sleep", "60"])
    before = up.region("us").redis.address
    try:
        cli(up, "down", "--regions", "us")
        assert sessions_of(up) == set()
        assert foreign.poll() is None
        assert not up.settings_file("us").exists()
        # Other programs take three of its ports; the stack uses new ones and reconfigures the replica set.
        taken = [up.region("us").plan.ports[name] for name in ("redis", "shard0.0", "kafka")]
        with held(taken):
            started = json.loads(cli(up, "up", "--regions", "us", "--json").stdout)["started"]
            assert {*started} >= SERVICES
        assert up.region("us").redis.address != before
        with MongoClient[dict[str, Any]](up.settings("us")["shards"][0]) as client:
            assert client.notify.kept.find_one() == {"_id": "before"}
    finally:
        foreign.kill()
        foreign.wait()


def test_a_killed_start_is_completed_by_two_concurrent_ones(private_stack: Stack) -> None:
    environment = {**os.environ, "NOTIFY_STACK_DIR": str(private_stack.folder)}
    command = [sys.executable, "-m", "devtools.stack", "up"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as starter:
        while not list(private_stack.folder.glob("us/shard*/*/process")):
            time.sleep(0.01)
        starter.send_signal(signal.SIGKILL)
    before = {name: pid for name, pid in pids(private_stack).items() if pid}
    assert before, "nothing had been started yet"
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: cli(private_stack, "up", "--json"), range(2)))
    started = [name for done in both for name in json.loads(done.stdout)["started"]]
    assert len(started) == len({*started}), "both started the same service"
    assert before.items() <= pids(private_stack).items()
    assert sessions_of(private_stack) == {*pids(private_stack).values()}


def test_an_interrupted_start_says_what_goes_on_and_down_stops_it(private_stack: Stack) -> None:
    environment = {**os.environ, "NOTIFY_STACK_DIR": str(private_stack.folder)}
    command = [sys.executable, "-m", "devtools.stack", "up"]
    with subprocess.Popen(
        command,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        # It is ignored in the background jobs of a script, and so in the processes that they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as starter:
        while not list(private_stack.folder.glob("us/shard*/*/process")):
            time.sleep(0.01)
        starter.send_signal(signal.SIGINT)
        assert starter.stderr is not None
        said = starter.stderr.read()
    assert starter.returncode == 1 and "interrupted: services that run" in said and "stack down" in said, said
    assert "Traceback" not in said
    cli(private_stack, "down")
    assert sessions_of(private_stack) == set()


def test_a_second_command_waits_for_the_first(private_stack: Stack) -> None:
    private_stack.folder.mkdir()
    environment = {**os.environ, "NOTIFY_STACK_DIR": str(private_stack.folder)}
    command = [sys.executable, "-m", "devtools.stack", "up"]
    with (private_stack.folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as second:
            assert second.stderr and "waiting for another stack command" in second.stderr.readline()
            time.sleep(0.5)
            assert not (private_stack.folder / "state.json").exists()
            second.kill()


def test_a_service_that_fails_is_reported_with_its_log_and_the_others_start(private_stack: Stack) -> None:
    broken = private_stack.folder / "us" / "kafka" / "data" / "meta.properties"
    broken.parent.mkdir(parents=True)
    broken.write_text("version=1\nnode.id=7\ncluster.id=x\n")
    with pytest.raises(StackFailed, match=r"us/kafka ended while starting(.|\n)*log\.txt:\n(.|\n)*node id 7"):
        private_stack.up(["us"])
    assert private_stack.region("us").redis.is_healthy()


@contextlib.contextmanager
def held(ports: list[int]) -> Iterator[None]:
    """Binds ports, as another program would."""
    with contextlib.ExitStack() as stack:
        for port in ports:
            stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
        yield
