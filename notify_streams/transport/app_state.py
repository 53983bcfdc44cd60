"""What one Faust app has declared to the transport: settings, batched topics, hooks, and the producer.

In: declarations at import time. Out: one `AppState` an app, read when the app starts. Connects to nothing itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from faust.transport.drivers import aiokafka as stock
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth, server_list
from faust.types import TP, AppT

from notify_streams.kafka import KafkaConnection
from notify_streams.transport.settings import TransportSettings
from notify_streams.transport.watchdog import Watchdog

if TYPE_CHECKING:
    from notify_streams.transport.batch_producer import BatchProducer
    from notify_streams.transport.consumer import Consumer
    from notify_streams.transport.tables.follower import Follower
    from notify_streams.transport.tables.recovery_progress import RecoveryProgress

#: Runs to completion before the first batch of newly assigned partitions is delivered. May say where partitions
#: start (the owner's ledger, say); for the others it is the committed offset. Called again if it raised.
AssignedHook = Callable[[frozenset[TP]], Awaitable[Mapping[TP, int] | None]]
#: Told when partitions are gone, after what was acknowledged was committed. Must not block.
RevokedHook = Callable[[frozenset[TP]], None]
#: Started with the producer, stopped after the consumer.
Lifecycle = tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]


class DeclaredTable(Protocol):
    """What a table shows of itself."""

    name: str

    @property
    def follower(self) -> Follower: ...
    def progress(self) -> RecoveryProgress: ...


class AppState:
    """Declarations of one app."""

    def __init__(self) -> None:
        self.settings = TransportSettings()
        self.batched_topics: set[str] = set()
        self.assigned_hooks: list[AssignedHook] = []
        self.revoked_hooks: list[RevokedHook] = []
        self.lifecycles: list[Lifecycle] = []
        self.tables: list[DeclaredTable] = []
        self.watchdog = Watchdog()
        #: What may stand still without any fault of this worker: topics, and the whole worker while one of these says so.
        self.patient_topics: set[str] = set()
        self.waiting: list[Callable[[], bool]] = []
        self.producer: BatchProducer | None = None


_states: WeakKeyDictionary[AppT, AppState] = WeakKeyDictionary()


def app_state(app: AppT) -> AppState:
    """The app's declarations, made empty at first use."""
    found = _states.get(app)
    if found is None:
        found = _states[app] = AppState()
    return found


def attach(app: AppT, settings: TransportSettings) -> None:
    """Use these settings for the app; call it before the app starts."""
    app_state(app).settings = settings


def on_assigned(app: AppT, hook: AssignedHook) -> AssignedHook:
    """Run `hook(partitions)` before anything of newly assigned partitions is delivered; see `AssignedHook`."""
    app_state(app).assigned_hooks.append(hook)
    return hook


def on_revoked(app: AppT, hook: RevokedHook) -> RevokedHook:
    """Tell `hook(partitions)` that partitions are gone; see `RevokedHook`."""
    app_state(app).revoked_hooks.append(hook)
    return hook


def exempt_from_watchdog(app: AppT, topic: str) -> None:
    """Records of `topic` may have to wait for somebody else, however long: that is no reason to restart this worker."""
    app_state(app).patient_topics.add(topic)


def hold_partitions_while(app: AppT, holds: Callable[[], bool]) -> None:
    """While `holds()`, nothing is opened, and that is no reason to restart this worker: asked at every look of the watchdog."""
    app_state(app).waiting.append(holds)


def kafka_connection(app: AppT) -> KafkaConnection:
    """The app's bootstrap servers and credentials."""
    conf = app.conf
    servers = server_list(app.transport.url, stock.Transport.default_port)
    return KafkaConnection(",".join(servers), credentials_to_aiokafka_auth(conf.broker_credentials, conf.ssl_context))


def producer_of(app: AppT) -> BatchProducer:
    """The producer that starts and stops with the app.

    Raises:
        RuntimeError: the app has not started, or its broker URL is not `batched://`.
    """
    producer = app_state(app).producer
    if producer is None:
        raise RuntimeError("the batch producer starts with the app, and only under a batched:// broker URL")
    return producer


def batched_consumer(app: AppT) -> Consumer:
    """The app's consumer, for `refuse` and `positions`.

    Raises:
        TypeError: the app's broker URL is not `batched://`.
    """
    from notify_streams.transport.consumer import Consumer

    consumer = app.consumer
    if not isinstance(consumer, Consumer):
        raise TypeError(f"the app's consumer is {type(consumer).__name__}: its broker URL must be batched://")
    return consumer
