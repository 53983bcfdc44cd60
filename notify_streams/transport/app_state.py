"""What one app has declared to the transport: settings, topics, hooks, lifecycles."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from faust.auth import OAuthCredentials, SASLCredentials, SSLCredentials
from faust.transport.drivers import aiokafka as stock
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth, server_list
from faust.types import TP, AppT
from faust.types.auth import CredentialsT

from notify_streams.kafka import KafkaConnection
from notify_streams.transport.settings import TransportSettings
from notify_streams.transport.watchdog import Watchdog

if TYPE_CHECKING:
    from notify_streams.transport.batch_producer import BatchProducer
    from notify_streams.transport.fetch_thread import PartitionOffsets
    from notify_streams.transport.tables.follower import Follower

#: Gets all newly assigned partitions and finishes before the first batch of any is delivered. Called again if it raised.
AssignedHook = Callable[[frozenset[TP]], Awaitable[object]]
#: Gets some of the newly assigned partitions, after the `AssignedHook`s. Returns where they start; those without a position start at their
#: committed offset. Called again for the same ones if it raised.
PositionHook = Callable[[frozenset[TP]], Awaitable[Mapping[TP, int]]]
#: Gets the revoked partitions, after their acknowledged offsets were committed. Must not block.
RevokedHook = Callable[[frozenset[TP]], None]
#: Gets the seconds since partitions were revoked in which nothing was delivered; None for the first assignment.
StartedHook = Callable[[float | None], object]
#: Start and stop: started with the producer, stopped after the consumer.
Lifecycle = tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]


@dataclass(frozen=True, slots=True)
class StartPositions:
    """Who says where partitions start."""

    read: PositionHook
    #: Partitions with the same value start together, those with another one independently of them.
    group_of: Callable[[TP], Hashable]
    #: Errors of `read` that end without help, and are no error of the log.
    transient: tuple[type[Exception], ...]


class AppState:
    """Declarations of one app, and its producer and table followers while it runs."""

    def __init__(self) -> None:
        self.settings = TransportSettings()
        #: Of all clients; None until the first of them needs it: then it is that of Faust's settings.
        self.connection: KafkaConnection | None = None
        self.batched_topics: set[str] = set()
        self.assigned_hooks: list[AssignedHook] = []
        #: None: partitions start at their committed offsets.
        self.start_positions: StartPositions | None = None
        self.revoked_hooks: list[RevokedHook] = []
        self.started_hooks: list[StartedHook] = []
        self.lifecycles: list[Lifecycle] = []
        self.watchdog = Watchdog()
        #: Of the assigned source partitions, as the health monitor read them last; None before that.
        self.offsets: Mapping[TP, PartitionOffsets] | None = None
        #: When that was, on the event loop's clock.
        self.offsets_at_s = 0.0
        #: Partitions whose position was beyond their end when the offsets were read last.
        self.beyond_end: frozenset[TP] = frozenset()
        #: Topics that the watchdog does not observe.
        self.exempt_topics: set[str] = set()
        #: Topic → see `count_progress_by`.
        self.progress: dict[str, Callable[[int], int | None]] = {}
        #: While one of these returns true, the watchdog observes nothing.
        self.holds: list[Callable[[], bool]] = []
        self.producer: BatchProducer | None = None
        self.followers: list[Follower] = []


_states: WeakKeyDictionary[AppT, AppState] = WeakKeyDictionary()


def app_state(app: AppT) -> AppState:
    """The app's declarations; empty at first use."""
    found = _states.get(app)
    if found is None:
        found = _states[app] = AppState()
    return found


def attach(app: AppT, settings: TransportSettings, connection: KafkaConnection | None = None) -> None:
    """Use these settings for the app, and the connection from which its `broker_credentials` were made. Call it before the app starts."""
    app_state(app).settings = settings
    app_state(app).connection = connection


def on_assigned(app: AppT, hook: AssignedHook) -> AssignedHook:
    """Call `hook(partitions)` before anything of newly assigned partitions is delivered; see `AssignedHook`."""
    app_state(app).assigned_hooks.append(hook)
    return hook


def start_at(
    app: AppT,
    read: PositionHook,
    group_of: Callable[[TP], Hashable],
    transient: tuple[type[Exception], ...] = (),
) -> None:
    """Start newly assigned partitions where `read` says; see `PositionHook` and `StartPositions`.

    Raises:
        ValueError: the app has one already.
    """
    if app_state(app).start_positions is not None:
        raise ValueError("one hook says where the partitions of an app start, and it has one already")
    app_state(app).start_positions = StartPositions(read, group_of, transient)


def on_revoked(app: AppT, hook: RevokedHook) -> RevokedHook:
    """Call `hook(partitions)` after partitions were revoked; see `RevokedHook`."""
    app_state(app).revoked_hooks.append(hook)
    return hook


def on_partitions_started(app: AppT, hook: StartedHook) -> StartedHook:
    """Call `hook(stopped_s)` when the assigned partitions have started; see `StartedHook`."""
    app_state(app).started_hooks.append(hook)
    return hook


def exempt_from_watchdog(app: AppT, topic: str) -> None:
    """Never restart the worker because of `topic`: its records may have to wait for another service, however long."""
    app_state(app).exempt_topics.add(topic)


def count_progress_by(app: AppT, topic: str, progress: Callable[[int], int | None]) -> None:
    """Do not restart the worker because of a partition of `topic` while `progress(partition)` changes.

    A position moves once a batch, and a batch of slow records can take longer than the watchdog waits. Called every few seconds.
    """
    app_state(app).progress[topic] = progress


def hold_partitions_while(app: AppT, holds: Callable[[], bool]) -> None:
    """Do not restart the worker while `holds()` is true, because no partition can start then. Called every few seconds."""
    app_state(app).holds.append(holds)


def faust_credentials(connection: KafkaConnection) -> CredentialsT | None:
    """The value of Faust's setting `broker_credentials` for the connection."""
    security = connection.security
    context, mechanism = security.get("ssl_context"), security.get("sasl_mechanism")
    if mechanism is None:
        return None if context is None else SSLCredentials(context)
    if mechanism == "OAUTHBEARER":
        return OAuthCredentials(oauth_cb=security["sasl_oauth_token_provider"], ssl_context=context)
    return SASLCredentials(
        username=security["sasl_plain_username"],
        password=security["sasl_plain_password"],
        ssl_context=context,
        mechanism=mechanism,
    )


def kafka_connection(app: AppT) -> KafkaConnection:
    """The app's bootstrap servers and credentials."""
    state, conf = app_state(app), app.conf
    if state.connection is None:
        servers = server_list(app.transport.url, stock.Transport.default_port)
        security = dict(credentials_to_aiokafka_auth(conf.broker_credentials, conf.ssl_context))
        state.connection = KafkaConnection(",".join(servers), security)
    return state.connection


def producer_of(app: AppT) -> BatchProducer:
    """The producer that starts and stops with the app.

    Raises:
        RuntimeError: the app has not started, or its broker URL is not `batched://`.
    """
    producer = app_state(app).producer
    if producer is None:
        raise RuntimeError("no batch producer: start the app, under a batched:// broker URL")
    return producer
