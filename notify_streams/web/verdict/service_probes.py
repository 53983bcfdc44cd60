"""Asks Kafka, each shard, Redis and DynamoDB, by clients that stay open."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pymongo
from aiokafka import TopicPartition

from notify_streams import kafka
from notify_streams.addresses import without_credentials
from notify_streams.admin.services import fault_of
from notify_streams.errors import StoreUnavailable
from notify_streams.registry.users_table import UsersTable
from notify_streams.retry import RetryPolicy
from notify_streams.roles import CHANNEL_ROLES, LANES
from notify_streams.stores import redis
from notify_streams.stores.shard_clocks import shard_ahead_s
from notify_streams.topics import trigger_topics
from notify_streams.web.kafka_reader import KafkaReader
from notify_streams.web.verdict.observation import ServiceState
from notify_streams.web.verdict.problem import ProblemCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notify_streams.admin.services import Fault
    from notify_streams.app import NotifyApp

_WITHIN_S: Final = 2.0
#: To find out why Kafka did not answer.
_WHY_S: Final = 1.0
_ONCE: Final = RetryPolicy("registry.probe", first_s=0.05, max_s=0.05, max_attempts=1)
#: No user has this id: user ids do not begin with a space.
_NO_USER: Final = " probe"


class ServiceProbes:
    """The services of a worker's region."""

    def __init__(self, worker: NotifyApp) -> None:
        self._worker = worker
        self._reader = KafkaReader(worker.settings.kafka_connection())
        self._registry: UsersTable | None = None
        #: Of the partitions whose ledgers tell what is processed, as they were read last.
        self.ends: Mapping[TopicPartition, int] = {}
        #: "shard 1" → by how many seconds its clock is ahead of this machine's.
        self.clocks: dict[str, float] = {}

    async def close(self) -> None:
        await self._reader.aclose()
        if self._registry is not None:
            await self._registry.close()

    async def ask(self) -> list[ServiceState]:
        """The state of each service; five seconds at most."""
        shards = range(len(self._worker.shards))
        return list(
            await asyncio.gather(
                self._kafka(), *(self._shard(shard) for shard in shards), self._redis(), self._dynamodb()
            )
        )

    async def _kafka(self) -> ServiceState:
        settings = self._worker.settings
        partitions = [
            TopicPartition(topic, partition)
            for topic in (*trigger_topics(settings), *CHANNEL_ROLES)
            for partition in range(settings.partitions)
        ]
        try:
            self.ends = await self._reader.ends(partitions)
        except StoreUnavailable as error:
            self.ends = {}  # a lag to an old end would look as if it had been worked off
            check = kafka.check_connection(settings.kafka_connection(), _WHY_S)
            fault = await fault_of(f"Kafka at {settings.kafka}", check, 2 * _WHY_S)
            if fault is None:
                sentence = f"Kafka at {settings.kafka} answers, but not for every partition ({error})"
                return ServiceState(ProblemCode.KAFKA_DOWN, "Kafka", sentence)
            return _state(ProblemCode.KAFKA_DOWN, "Kafka", fault)
        return ServiceState(ProblemCode.KAFKA_DOWN, "Kafka")

    async def _shard(self, shard: int) -> ServiceState:
        about = f"shard {shard}"
        uri = without_credentials(self._worker.settings.shards[shard])
        fault = await fault_of(f"MongoDB shard {shard} at {uri}", self._hello(shard, about), _WITHIN_S + 0.5)
        if fault is not None:
            self.clocks.pop(about, None)
        return _state(ProblemCode.SHARD_DOWN, about, fault)

    async def _hello(self, shard: int, about: str) -> None:
        with pymongo.timeout(_WITHIN_S):
            self.clocks[about] = await shard_ahead_s(self._worker.shards, shard)

    async def _redis(self) -> ServiceState:
        client = self._worker.preferences.redis
        name = f"Redis at {redis.address_of(client)}"
        fault = await fault_of(name, redis.check(client), _WITHIN_S)
        if fault is not None and not fault.refused:
            fault = await fault_of(name, redis.check(client), _WITHIN_S)  # its time-out is short
        return _state(ProblemCode.REDIS_DOWN, "Redis", fault)

    async def _dynamodb(self) -> ServiceState:
        address = self._worker.settings.dynamodb
        name = "DynamoDB" if address is None else f"DynamoDB at {without_credentials(address)}"
        return _state(ProblemCode.DYNAMODB_DOWN, "DynamoDB", await fault_of(name, self._read_no_user(), _WITHIN_S))

    async def _read_no_user(self) -> None:
        if self._registry is None:
            registry = UsersTable(self._worker.settings, _ONCE)
            await registry.start()
            self._registry = registry
        await self._registry.get(_NO_USER)


def _state(code: ProblemCode, about: str, fault: Fault | None) -> ServiceState:
    if fault is None:
        return ServiceState(code, about)
    return ServiceState(code, about, fault.sentence, fault.refused)


def ledger_lag(rows: list[dict[str, Any]], ends: Mapping[TopicPartition, int]) -> dict[str, int]:
    """Role → records that it has not processed, of the roles whose ledgers tell."""
    lag: dict[str, int] = {}
    for row in rows:
        end = ends.get(TopicPartition(row.get("topic"), row.get("partition")))
        if end is not None and row.get("role") in (*LANES, *CHANNEL_ROLES):
            lag[row["role"]] = lag.get(row["role"], 0) + max(0, end - int(row.get("next_offset", end)))
    return lag
