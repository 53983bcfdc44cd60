"""One region's services, made from its plan. In: a name, a folder, a plan; out: parts that can be started, stopped and hurt.

`Stack(folder).region("us").kafka.kill()`. It refuses to know other regions and where the plan is kept.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

from devtools.stack import dynamodb, kafka, mongodb, nginx, providers, valkey
from devtools.stack.errors import StackFailed
from devtools.stack.external_services import ExternalService, ExternalShard
from devtools.stack.region_plan import SHARDS, RegionPlan
from devtools.stack.service import Service
from notify_streams.roles import ROLES

T = TypeVar("T")


class Part(Protocol):
    """What starts and falls as one: a service, or a shard with its members."""

    name: str

    @property
    def address(self) -> str: ...
    def start(self) -> bool: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Region:
    """Calls block until the effect is there, and act on all parts at once. Call them from a thread if there is an event loop."""

    def __init__(self, name: str, folder: Path, plan: RegionPlan) -> None:
        self.name = name
        self.folder = folder
        self.plan = plan
        self.kafka: Service = self._elsewhere("kafka", kafka.answers) or kafka.Kafka(
            *self._place("kafka"), plan.ports["kafka"], plan.ports["kafka.controller"]
        )
        self.redis: Service = self._elsewhere("redis", valkey.answers) or valkey.Valkey(
            *self._place("redis"), plan.ports["redis"]
        )
        self.dynamodb: Service = self._elsewhere("dynamodb", dynamodb.answers) or dynamodb.DynamoDB(
            *self._place("dynamodb"), plan.ports["dynamodb"]
        )
        self.shards: tuple[mongodb.Shard, ...] = tuple(self._shards())
        ports = (plan.ports[f"sandbox.{kind}"] for kind in ("http", "apns", "smtp"))
        self.sandbox = providers.Sandbox(*self._place("sandbox"), *ports)
        #: None where the machine has no nginx.
        self.edge = self._edge() if nginx.program() else None

    @property
    def parts(self) -> tuple[Part, ...]:
        edge = (self.edge,) if self.edge else ()
        return (self.kafka, *self.shards, self.redis, self.dynamodb, self.sandbox, *edge)

    @property
    def services(self) -> tuple[Service, ...]:
        """Every single process: a shard's members, and each other service."""
        members = [member for shard in self.shards for member in shard.members]
        return (*members, *(part for part in self.parts if isinstance(part, Service)))

    def start(self, say: Callable[[str], None] = lambda line: None) -> list[str]:
        """Start what does not run, wait until all of it answers; returns the names of those that this call started.

        One part's failure does not stop the others' start; the error then names every part that failed.
        """

        def begin(part: Part) -> str | None:
            began = part.start()
            say(f"{part.name} {'started' if began else 'already runs'} at {part.address}")
            return part.name if began else None

        return [name for name in self._together(begin) if name]

    def stop(self) -> None:
        self._together(lambda part: part.stop())

    def kill(self) -> None:
        """Every process of the region at once: the loss of a data centre, after which `start` is its return."""
        self._together(lambda part: part.kill())

    def pause(self) -> None:
        self._together(lambda part: part.pause())

    def resume(self) -> None:
        self._together(lambda part: part.resume())

    def _together(self, act: Callable[[Part], T]) -> list[T]:
        with ThreadPoolExecutor(len(self.parts)) as pool:
            futures = [pool.submit(act, part) for part in self.parts]
        failures = [str(error) for future in futures if (error := future.exception())]
        if failures:
            raise StackFailed("\n".join(failures))
        return [future.result() for future in futures]

    def _place(self, service: str) -> tuple[str, Path]:
        return f"{self.name}/{service}", self.folder / service

    def _edge(self) -> nginx.Edge:
        origin = f"127.0.0.1:{self.plan.ports['web'] + ROLES.index('registry')}"
        port, token = self.plan.ports["edge"], self.plan.edge_token
        return nginx.Edge(*self._place("edge"), port, token, origin, self.plan.web_token)

    def _elsewhere(self, service: str, answers: Callable[[str], bool]) -> ExternalService | None:
        uris = self.plan.elsewhere.get(service)
        return ExternalService(*self._place(service), uris[0], answers) if uris else None

    def _shards(self) -> Iterator[mongodb.Shard]:
        if uris := self.plan.elsewhere.get("shards"):
            for number, uri in enumerate(uris):
                yield ExternalShard(f"{self.name}/shard{number}", uri, mongodb.answers)
            return
        for number in range(SHARDS):
            name, folder = self._place(f"shard{number}")
            replica_set = f"{self.name}-{number}"
            ports = [self.plan.ports[f"shard{number}.{member}"] for member in range(self.plan.members)]
            members = [
                mongodb.Member(f"{name}/{at}", folder / str(at), port, replica_set) for at, port in enumerate(ports)
            ]
            yield mongodb.Shard(name, replica_set, members)
