"""Workers register themselves in Redis: who runs, and at which address.

``control:workers:<region>`` is a hash: worker id → ``<last sign of life> <registration> <WorkerEntry as JSON>``, both times in milliseconds by
Redis's clock, so that no worker's clock matters. A worker that stops removes its entry; that of one that was killed stays for an hour.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import secrets
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

import msgspec

from notify_streams import addresses, tasks
from notify_streams.errors import StoreUnavailable
from notify_streams.field_errors import DECODE_ERRORS
from notify_streams.retry import RetryPolicy
from notify_streams.roles import ROLES
from notify_streams.stores.redis import redis_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from redis.asyncio import Redis

    from notify_streams.settings import Settings

log = logging.getLogger(__name__)

BEAT_S: Final = 5.0
#: An entry without a sign of life for so long is removed.
KEPT_S: Final = 3600.0
MAX_WORKERS: Final = 2_000
#: An entry that stays names a worker that has ended as one that is gone.
_REMOVE: Final = RetryPolicy("registration.remove", first_s=0.05, max_s=0.05, max_attempts=2)
#: A stop waits no longer for a Redis that does not answer.
_STOP_S: Final = 0.75
_KEY: Final = "control:workers"
_MAX_BYTES: Final = 1024
_REDIS_PORT: Final = 6379
#: KEYS: the hash. ARGV: worker id, entry, greatest number of workers, its registration or '', ms until the hash is forgotten.
#: Returns the time of the registration in ms, or '' if there are too many workers.
_BEAT: Final = """
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then return '' end
local registered = ARGV[4]
if registered == '' then registered = now end
redis.call('HSET', KEYS[1], ARGV[1], now .. ' ' .. registered .. ' ' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return registered
"""
_VALUE: Final = re.compile(rb"([0-9]{1,15}) ([0-9]{1,15}) (\{.*\})", re.DOTALL)

#: The end of the year 9999, the last that can be shown as a date.
_LAST_MS: Final = 253_402_300_799_999
_MAX_PARTITIONS: Final = 1_000_000

_Host = Annotated[str, msgspec.Meta(pattern=rf"^(?:{addresses.HOST.pattern})\Z", max_length=255)]


class WorkerEntry(msgspec.Struct, frozen=True):
    """What a worker says about itself."""

    #: New at each start.
    id: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}\Z")]
    role: str
    #: Where other machines of the region reach its web views; an IPv6 address has no brackets.
    host: _Host
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    #: The number of partitions that it reads.
    partitions: Annotated[int, msgspec.Meta(ge=0, le=_MAX_PARTITIONS)]
    version: Annotated[str, msgspec.Meta(max_length=64)]


@dataclass(frozen=True, slots=True)
class RegisteredWorker:
    """An entry as it was read; Unix times in seconds by Redis's clock."""

    entry: WorkerEntry
    registered: float
    seen: float


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(WorkerEntry).decode


class WorkerRegistration:
    """Keeps the entry of one worker. A Redis that is away delays nothing."""

    def __init__(
        self, redis: Redis, region: str, describe: Callable[[str], WorkerEntry], every_s: float = BEAT_S
    ) -> None:
        """`redis` is closed at the end. `describe`: worker id → its present entry."""
        self._every_s = every_s
        self._redis = redis
        self._key = key_of(region)
        self._describe = describe
        self._registered = ""
        self._task: asyncio.Task[None] | None = None
        self._beating = asyncio.Lock()
        self.id = secrets.token_hex(8)

    async def start(self) -> None:
        """Begin to give signs of life, and return."""
        beats = tasks.keep_running("worker registration", self._run, self._every_s)
        self._task = asyncio.create_task(beats, name="worker registration")

    async def stop(self) -> None:
        """Remove the entry, after the sign of life that is under way.

        Redis could do that one later than the removal, and the entry would stay.
        """
        try:
            async with asyncio.timeout(_STOP_S):
                async with self._beating:
                    await tasks.stop([self._task])
                await _REMOVE.call(remove, self._redis, self._key, [self.id])
        except (StoreUnavailable, TimeoutError) as error:
            reason = str(error) or f"Redis has not answered within {_STOP_S:g} s"
            log.warning("the worker's entry stays", extra={"action": "registration.stays", "error": reason})
        finally:
            await tasks.stop([self._task])
            await self._redis.aclose()

    async def _run(self) -> None:
        while True:
            try:
                await self.beat()
            except StoreUnavailable as error:
                log.warning("no sign of life", extra={"action": "registration.failed", "error": str(error)})
            await asyncio.sleep(self._every_s)

    async def beat(self) -> None:
        """Write the entry with Redis's time.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        entry = _encode(self._describe(self.id))
        arguments = (self.id, entry, MAX_WORKERS, self._registered, int(2 * KEPT_S * 1000))
        async with self._beating:
            with redis_call(self._redis):
                registered: Any = await self._redis.eval(_BEAT, 1, self._key, *arguments)
        if not registered:
            log.error("too many workers are registered", extra={"action": "registration.refused"})
        self._registered = registered.decode()


def key_of(region: str) -> str:
    """The hash with the region's workers."""
    return f"{_KEY}:{region}"


async def read_workers(redis: Redis, region: str) -> tuple[float, list[RegisteredWorker]]:
    """Redis's time, and the entries by role and address. What cannot be read as an entry is left out.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    with redis_call(redis):
        async with redis.pipeline(transaction=False) as pipeline:
            pipeline.time()
            pipeline.hgetall(key_of(region))
            (seconds, microseconds), values = await pipeline.execute()
    found = filter(None, (parsed(name, value) for name, value in values.items()))
    workers = sorted(found, key=lambda one: (ROLES.index(one.entry.role), one.entry.host, one.entry.port))
    return seconds + microseconds / 1e6, workers[:MAX_WORKERS]


def parsed(name: bytes, value: bytes) -> RegisteredWorker | None:
    """One field of the hash; None if it is no entry."""
    match = _VALUE.fullmatch(value) if len(value) <= _MAX_BYTES else None
    if match is None:
        return None
    try:
        entry = _decode(match[3])
    except DECODE_ERRORS:
        return None
    seen_ms, registered_ms = int(match[1]), int(match[2])
    if entry.role not in ROLES or entry.id.encode() != name or max(seen_ms, registered_ms) > _LAST_MS:
        return None
    return RegisteredWorker(entry, registered_ms / 1000, seen_ms / 1000)


async def remove(redis: Redis, key: str, ids: Sequence[str]) -> None:
    """Remove entries.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    if ids:
        with redis_call(redis):
            await redis.hdel(key, *ids)


def superseded(workers: Iterable[RegisteredWorker], now: float, dead_s: float) -> list[str]:
    """The ids of entries that say nothing any more.

    They gave no sign of life for `KEPT_S`; or for `dead_s`, and another worker has come to the same address, or one of their role was
    registered after that: each worker replaces one.
    """
    by_role: dict[str, list[RegisteredWorker]] = {}
    for one in workers:
        by_role.setdefault(one.entry.role, []).append(one)
    return [old for group in by_role.values() for old in _superseded(group, now, dead_s)]


def _superseded(group: Sequence[RegisteredWorker], now: float, dead_s: float) -> list[str]:
    dead = sorted((one for one in group if now - one.seen > dead_s), key=lambda one: one.seen)
    heirs = sorted((one for one in group if now - one.seen <= dead_s), key=lambda one: one.registered)
    found = {one.entry.id for one in dead if now - one.seen > KEPT_S}
    for is_heir in (_same_address, _came_later):
        for one in dead:
            heir = next((other for other in heirs if is_heir(one, other)), None)
            if heir is not None and one.entry.id not in found:
                heirs.remove(heir)
                found.add(one.entry.id)
    return sorted(found)


def _came_later(one: RegisteredWorker, other: RegisteredWorker) -> bool:
    return other.registered > one.seen


def _same_address(one: RegisteredWorker, other: RegisteredWorker) -> bool:
    return (one.entry.host, one.entry.port) == (other.entry.host, other.entry.port)


def advertised_host(settings: Settings) -> str:
    """Where others reach this worker: `web_advertised_host`, or the address that it listens on.

    For a worker that listens on all addresses: that from which it reaches Redis.
    """
    if settings.web_advertised_host is not None:
        return settings.web_advertised_host
    host = settings.web_host.strip("[]")
    try:
        is_wildcard = not host or ipaddress.ip_address(host).is_unspecified
    except ValueError:  # a name
        return host
    return _own_address(settings.redis) if is_wildcard else host


def _own_address(redis: str) -> str:
    """Sends nothing: a UDP socket that is connected has the address of the route."""
    url = urlsplit(f"//{urlsplit(redis).netloc.split(',')[0]}")
    try:
        found = socket.getaddrinfo(url.hostname, url.port or _REDIS_PORT, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError:
        return socket.gethostname()
