"""Look-ups of names that others chose: bounded, and no hindrance to those of the rest of the process."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from notify_streams.delivery.providers.http.name_lookups import NameLookups, TooManyLookUps
from tests.waiting import until

FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))]


class Resolver:
    """Answers `slow…` when the gate is open, `push.example` and `kafka` at once.

    Other names are of threads that earlier tests left, such as a database driver's: the real resolver answers them.
    """

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.asked: list[str] = []
        self.real = socket.getaddrinfo

    def getaddrinfo(self, host: str, port: int, *rest: Any, **named: Any) -> list[Any]:
        if not host.startswith(("slow.", "push.example", "kafka")):
            return self.real(host, port, *rest, **named)
        self.asked.append(host)
        if host.startswith("slow"):
            assert self.gate.wait(10)
        if host == "slow.unknown":
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return FOUND


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver.getaddrinfo)
    yield resolver
    resolver.gate.set()


async def test_slow_names_have_a_bound_and_leave_all_others_alone(resolver: Resolver) -> None:
    lookups = NameLookups(threads=2, waiting=2)
    slow = [asyncio.create_task(lookups.look_up(f"slow.{number}", 443)) for number in range(4)]
    await until(lambda: len(resolver.asked) == 2, "two are looked up")
    await asyncio.sleep(0)
    with pytest.raises(TooManyLookUps):
        await lookups.look_up("slow.5", 443)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(5):
        await asyncio.gather(*(loop.getaddrinfo("127.0.0.1", 9092) for _ in range(50)))
        await asyncio.gather(*(asyncio.to_thread(resolver.getaddrinfo, "kafka", 9092) for _ in range(50)))
    assert resolver.asked.count("kafka") == 50 and sum(host.startswith("slow") for host in resolver.asked) == 2
    resolver.gate.set()
    assert await asyncio.gather(*slow) == [FOUND] * 4
    assert await lookups.look_up("push.example", 443) == FOUND


async def test_a_look_up_whose_caller_was_cancelled_keeps_its_thread_to_the_end(resolver: Resolver) -> None:
    lookups = NameLookups(threads=1, waiting=1)
    left = asyncio.create_task(lookups.look_up("slow.unknown", 443))
    await until(lambda: resolver.asked, "it is looked up")
    left.cancel()
    waits = asyncio.create_task(lookups.look_up("push.example", 443))
    gives_up = asyncio.create_task(lookups.look_up("slow.late", 443))
    await asyncio.wait([gives_up], timeout=5)
    assert isinstance(gives_up.exception(), TooManyLookUps) and resolver.asked == ["slow.unknown"]
    resolver.gate.set()
    assert await asyncio.wait_for(waits, 5) == FOUND


async def test_a_name_that_is_unknown_or_none_is_an_error(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    resolver.gate.set()
    lookups = NameLookups()
    with pytest.raises(socket.gaierror):
        await lookups.look_up("slow.unknown", 443)
    monkeypatch.undo()
    with pytest.raises(UnicodeError):
        await lookups.look_up("a" * 64 + ".example", 443)
