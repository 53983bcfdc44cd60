"""The services of one region: start, stop, kill and pause them, all or one.

Example: `Stack(folder).region("us").kafka.kill()`.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from devtools.stack import dynamodb, kafka, mongodb, nginx, providers, valkey
from devtools.stack.credentials import Credentials
from devtools.stack.errors import StackFailed
from devtools.stack.external_services import ExternalService, ExternalShard
from devtools.stack.region_plan import SHARDS, RegionPlan
from devtools.stack.service import Service
from notify_streams.addresses import without_credentials
from notify_streams.roles import ROLES, VIEWS, WEBHOOKS

T = TypeVar("T")
#: What is started and stopped as one: a shard has a process for each member.
Component = Service | mongodb.Shard


class Region:
    """Methods act on all components concurrently and block until done; with an event loop, call them in a thread."""

    def __init__(self, name: str, folder: Path, plan: RegionPlan) -> None:
        self.name = name
        self.folder = folder
        self.plan = plan
        ports = plan.ports
        #: None: no service wants a log-in.
        self.credentials = Credentials(folder) if plan.secure else None
        self.kafka: Service = self._external("kafka", kafka.is_healthy) or self._kafka()
        self.redis: Service = self._external("redis", valkey.is_healthy) or valkey.Valkey(
            *self._named("redis"), ports["redis"], self.credentials
        )
        self.dynamodb: Service = self._external("dynamodb", dynamodb.is_healthy) or dynamodb.DynamoDB(
            *self._named("dynamodb"), ports["dynamodb"]
        )
        self.shards: tuple[mongodb.Shard, ...] = tuple(self._shards())
        self.sandbox = providers.Sandbox(
            *self._named("sandbox"),
            # The plan of an older checkout has fewer of them.
            {name: ports.get(f"sandbox.{name}", 0) for name in ("http", "apns", "web_push", "smtp")},
            f"http://{self._web(VIEWS)}",
        )
        #: None where nginx is not installed.
        self.edge = self._edge() if nginx.nginx_program() else None

    @property
    def components(self) -> tuple[Component, ...]:
        edge = (self.edge,) if self.edge else ()
        return (self.kafka, *self.shards, self.redis, self.dynamodb, self.sandbox, *edge)

    @property
    def services(self) -> tuple[Service, ...]:
        """Each process: the members of the shards, and the other components."""
        members = [member for shard in self.shards for member in shard.members]
        return (*members, *(one for one in self.components if isinstance(one, Service)))

    def start(self, report: Callable[[str], None] = lambda line: None) -> list[str]:
        """Start what does not run and wait until all is healthy; returns the names of the components that this call started.

        Raises:
            StackFailed: names every component that failed; the others have started.
        """

        if self.credentials is not None:
            self.credentials.create()

        def start(component: Component) -> str | None:
            started = component.start()
            report(
                f"{component.name} {'started' if started else 'already runs'} at {without_credentials(component.address)}"
            )
            return component.name if started else None

        return [name for name in self._concurrently(start) if name]

    def stop(self) -> None:
        self._concurrently(lambda component: component.stop())

    def kill(self) -> None:
        """SIGKILL every process: the loss of a data centre."""
        self._concurrently(lambda component: component.kill())

    def pause(self) -> None:
        self._concurrently(lambda component: component.pause())

    def resume(self) -> None:
        self._concurrently(lambda component: component.resume())

    def _concurrently(self, act: Callable[[Component], T]) -> list[T]:
        with ThreadPoolExecutor(len(self.components)) as pool:
            futures = [pool.submit(act, component) for component in self.components]
        if failures := [str(error) for future in futures if (error := future.exception())]:
            raise StackFailed("\n".join(failures))
        return [future.result() for future in futures]

    def _named(self, service: str) -> tuple[str, Path]:
        return f"{self.name}/{service}", self.folder / service

    def _kafka(self) -> kafka.Kafka:
        ports = self.plan.ports["kafka"], self.plan.ports["kafka.controller"]
        if self.credentials is None:
            return kafka.Kafka(*self._named("kafka"), *ports)
        return kafka.SecureKafka(*self._named("kafka"), *ports, self.credentials)

    def _edge(self) -> nginx.Edge:
        tokens = self.plan.tokens
        return nginx.Edge(
            *self._named("edge"),
            self.plan.ports["edge"],
            nginx.EdgeTokens(tokens["edge_push"], tokens["edge_read"], tokens["web_edge"]),
            self._web(VIEWS),
        )

    def public_url(self) -> str:
        """The address of the role `webhooks`."""
        return f"http://{self._web(WEBHOOKS)}"

    def _web(self, role: str) -> str:
        """Host and port of a role's web views."""
        return f"127.0.0.1:{self.plan.ports['web'] + ROLES.index(role)}"

    def _external(self, service: str, is_healthy: Callable[[str], bool]) -> ExternalService | None:
        uris = self.plan.external.get(service)
        return ExternalService(*self._named(service), uris[0], is_healthy) if uris else None

    def _shards(self) -> Iterator[mongodb.Shard]:
        if uris := self.plan.external.get("shards"):
            for number, uri in enumerate(uris):
                yield ExternalShard(f"{self.name}/shard{number}", uri, mongodb.is_healthy)
            return
        for number in range(SHARDS):
            name, folder = self._named(f"shard{number}")
            replica_set = f"{self.name}-{number}"
            ports = [self.plan.ports[f"shard{number}.{member}"] for member in range(self.plan.members)]
            members = [
                mongodb.Member(f"{name}/{at}", folder / str(at), port, replica_set, self.credentials)
                for at, port in enumerate(ports)
            ]
            yield mongodb.Shard(name, replica_set, members, self.credentials)
