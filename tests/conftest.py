"""Fixtures: real services, started at first use and shared by the tests of a process.

`make test` runs three processes and `make test-regions` two (`pytest -n`), each with a stack of its own. The tests of a folder run in one
process, those of tests/e2e file by file.
`NOTIFY_TEST_STACK=.stack` (a stack's folder) uses that stack and leaves it running, for quick repeated runs in one process.
`NOTIFY_TEST_SECURE=1` (`make test-secure`): stacks that a test starts for itself want TLS, passwords and rights.
`NOTIFY_TEST_KAFKA=host:port` replaces `kafka_bootstrap` only. In CI a service that does not start fails the test, on a laptop it skips it.
"""

import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from devtools.stack import Stack
from devtools.stack.ports import allowed_ports
from tests.local_services import RUNS, delete, new_stack, or_skipped, remove

pytest_plugins = ["tests.log_leak_plugin"]

# A slow machine must not fail a property test.
settings.register_profile("any-speed", deadline=None)
settings.load_profile("any-speed")


def pytest_configure(config: pytest.Config) -> None:
    """Make SIGTERM stop what fixtures started, give each process its own ports, and keep stacks in temporary folders below `RUNS`.

    A port looks free until its service has started, so processes must not share a range.
    """

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    if place := getattr(config, "workerinput", None):
        ports, number = allowed_ports(), int(place["workerid"].removeprefix("gw"))
        share = len(ports) // place["workercount"]
        mine = ports[number * share : (number + 1) * share]
        os.environ["NOTIFY_STACK_PORTS"] = f"{mine.start}-{mine[-1]}"
    else:
        _end_stacks_of_dead_runs()
        if "NOTIFY_TEST_RUNS" in os.environ:
            # xdist's processes get folders in it. Who stops the run from outside looks for stacks nowhere else.
            RUNS.mkdir(parents=True, exist_ok=True)
            config.option.basetemp = config.option.basetemp or RUNS / f"{os.getpid()}-tmp"


class _ByFolder(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Runs a folder's tests in one process, because they share services. Free processes take folders in order.

    Of tests/e2e the files are divided: each process has a region of its own.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = file.rpartition("/")[0]
        return file if folder == "tests/e2e" else folder


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    config.option.loadscopereorder = False
    return _ByFolder(config, log)


@pytest.fixture(scope="session")
def stack_of_the_run() -> Iterator[Stack]:
    """The stack of this process, not started."""
    if given := os.environ.get("NOTIFY_TEST_STACK"):
        yield Stack(Path(given))
        return
    own = Stack(RUNS / str(os.getpid()))
    yield own
    remove(own)


@pytest.fixture(scope="session")
def stack(stack_of_the_run: Stack) -> Stack:
    """The shared stack with region us running. A test that stops a service uses `private_stack`, or starts it again."""
    return _up(stack_of_the_run, ["us"])


@pytest.fixture
def private_stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack for this test only, not started; stopped and deleted at the end."""
    own = new_stack(tmp_path / "stack")
    yield own
    remove(own)


@pytest.fixture(scope="session")
def region_settings_overlay(stack: Stack) -> dict[str, Any]:
    """Region us's settings overlay, as in `<stack folder>/us.yaml`."""
    return stack.settings("us")


@pytest.fixture(scope="session")
def kafka_bootstrap(request: pytest.FixtureRequest) -> str:
    """`host:port` of region us's broker."""
    given = os.environ.get("NOTIFY_TEST_KAFKA")
    return given or str(request.getfixturevalue("region_settings_overlay")["kafka"])


@pytest.fixture(scope="session")
def mongo_shards(region_settings_overlay: dict[str, Any]) -> list[str]:
    """The URIs of region us's shards, replica sets of one member."""
    return list(region_settings_overlay["shards"])


@pytest.fixture(scope="session")
def redis_url(region_settings_overlay: dict[str, Any]) -> str:
    return str(region_settings_overlay["redis"])


@pytest.fixture(scope="session")
def dynamodb_url(region_settings_overlay: dict[str, Any]) -> str:
    return str(region_settings_overlay["dynamodb"])


@pytest.fixture(scope="session")
def sandbox(stack: Stack) -> dict[str, str]:
    """The sandbox's URLs by provider, and its `record` file."""
    part = stack.region("us").sandbox
    return {**part.urls(), "record": str(part.provider_log)}


def _up(stack: Stack, regions: Sequence[str]) -> Stack:
    with or_skipped():
        stack.up(regions)
    return stack


def _end_stacks_of_dead_runs() -> None:
    for folder in RUNS.glob("*"):
        if not Path("/proc", folder.name.partition("-")[0]).exists():
            for state in list(folder.rglob("state.json")):  # `delete` removes what is searched
                delete(Stack(state.parent, environment={}))
            shutil.rmtree(folder, ignore_errors=True)
