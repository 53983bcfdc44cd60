"""Builds the Faust application of one role in one region from the settings.

``NOTIFY_REGION`` and ``NOTIFY_ROLE`` select it for ``faust -A notify_streams.app worker`` and ``notify-streams worker``.
Agents and tables are listed by module name, so this package imports none of them. Nothing connects before the worker starts.
"""

from __future__ import annotations

import logging
import os
import sys
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import faust
from faust.web.base import BlueprintManager

from notify_streams import __version__, metrics
from notify_streams.errors import SettingsError
from notify_streams.gc_tuning import tune_gc
from notify_streams.kafka import client_options
from notify_streams.logs import logging_config
from notify_streams.loop_lag import LoopLag
from notify_streams.outbox.fence import raise_fence
from notify_streams.preferences.categories import channels_of_templates, check_systems, configured_categories
from notify_streams.preferences.publisher import publisher_for
from notify_streams.preferences.service import PreferenceService
from notify_streams.regions.failover.placement_service import PlacementService
from notify_streams.registry.contact_repository import ContactRepository
from notify_streams.retry import failing_calls
from notify_streams.roles import (
    CHANNEL_ROLES,
    MODULES,
    PLACEMENT_ROLES,
    ROLES,
    VIEWS,
    WEBHOOKS,
    app_id,
    channel_of,
    lane_of,
)
from notify_streams.security_files import follow_security
from notify_streams.settings import Settings, load_settings
from notify_streams.settings_folder import local_overlay
from notify_streams.stores.maintenance import wait_for_maintenance
from notify_streams.stores.mongo import Shards
from notify_streams.stores.redis import access_with, connect
from notify_streams.templates.catalog import configured_templates
from notify_streams.topics import HEADROOM_BYTES
from notify_streams.tracing.start import start_tracing
from notify_streams.transport import (
    TransportSettings,
    attach,
    batched_topic,
    faust_credentials,
    hold_partitions_while,
    in_memory,
    known_offsets,
    on_assigned,
    on_disk,
    on_partitions_started,
    producer_of,
)
from notify_streams.transport.app_state import app_state
from notify_streams.transport.faust_waits import PromptTableManager, PromptWorker
from notify_streams.waiting_server import health_while_waiting
from notify_streams.web_server import MAX_CONNECTIONS, MAX_STREAMS, Web, WebLimits
from notify_streams.worker_registration import WorkerEntry, WorkerRegistration, advertised_host

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from faust.types import TopicT

    from notify_streams.delivery.engine import DeliveryEngine
    from notify_streams.delivery.event_outbox import EventOutbox
    from notify_streams.followed_files import FollowedFiles
    from notify_streams.outbox.outbox import Outbox
    from notify_streams.records.batch import Headers
    from notify_streams.regions.failover.placement import Placement
    from notify_streams.regions.failover.placement_follower import PlacementFollower
    from notify_streams.regions.forwarding.remote_region import RemoteState
    from notify_streams.regions.locations import Location
    from notify_streams.templates.catalog import Templates
    from notify_streams.transport import SentBatch, StoreFactory

log = logging.getLogger(__name__)

#: Calls that no partition which the watchdog observes waits for. While another one fails, a restart would cure nothing.
_BESIDE_PARTITIONS: Final = frozenset(
    ("edge.push", "edge.push_batch", "erasure.run", "preferences.lease", "addresses.suppress")
)
#: Of the roles whose agents use the same event loop. Probes, scrapes and pages need a few requests.
_WEB_LIMITS: Final = WebLimits(requests_per_s=50.0)
_WEB_LIMITS_OF: Final = {
    # Its requests are queries of the databases that everything else uses.
    VIEWS: WebLimits(requests_per_s=100.0, connections=MAX_CONNECTIONS + MAX_STREAMS),
    # An SNS message has 256 KiB, and is escaped twice in the body.
    WEBHOOKS: WebLimits(requests_per_s=2_000.0, connections=512, connections_per_s=2_000.0, body_bytes=640 * 1024),
}
#: The package and name of the views; those of the other roles are `worker_blueprint`.
_BLUEPRINTS: Final = {
    VIEWS: "notify_streams.web.region_views:region_blueprint",
    WEBHOOKS: "notify_streams.public:public_blueprint",
}
#: The longest time for which the fetch thread keeps the interpreter lock from the event loop, which releases it with each send
#: (Python's default: 5 ms).
_SWITCH_INTERVAL_S: Final = 0.000_5


class NotifyApp(faust.App):
    """The Faust app of one role, with the clients and services that start and stop with it."""

    def __init__(self, settings: Settings, role: str) -> None:
        self.settings = settings
        self.role = role
        self.lane = lane_of(role)
        self.categories = configured_categories()
        check_systems(self.categories, settings.trigger_systems)
        self.shards = Shards(settings, app_name=app_id(settings.region, role), follows=True)
        #: Set by the role's agents for the web views; None on roles without one.
        self.outbox: Outbox | None = None
        self.delivery: DeliveryEngine | None = None
        self.receipt_events: EventOutbox | None = None
        self.placement_follower: PlacementFollower | None = None
        #: Of the regions that the role forward hands triggers to.
        self.remote_states: list[RemoteState] = []
        #: Awaited when the web server listens.
        self.web_started: list[Callable[[], Awaitable[None]]] = []
        #: User id → location; None on roles without the locations table.
        self.locate: Callable[[str], Location | None] | None = None
        super().__init__(
            app_id(settings.region, role),
            broker=[f"batched://{server.strip()}" for server in settings.kafka.split(",")],
            broker_credentials=faust_credentials(settings.kafka_connection()),
            store="memory://",
            datadir=str(Path(settings.data_dir) / settings.region / role),
            autodiscover=list(MODULES[role]),
            TableManager=PromptTableManager,
            topic_allow_declare=False,
            topic_disable_leader=True,
            topic_partitions=settings.partitions,
            topic_replication_factor=settings.replication,
            consumer_auto_offset_reset="earliest",
            producer_request_timeout=settings.broker.request_timeout_s,
            stream_buffer_maxsize=256,
            web_bind=settings.web_host,
            web_port=web_port(settings, role),
            web_tables_enabled=False,
            web_router_enabled=False,
            web_graph_enabled=False,
            web_stats_enabled=False,
            web_metrics_enabled=False,
            worker_redirect_stdouts=False,
        )
        attach(self, _transport_settings(settings, role), settings.kafka_connection())
        #: None while tracing is off.
        self.spans = start_tracing(settings, role)
        if self.spans is not None:
            self.add_stop(self.spans.close)  # the last one that stops
        hold_partitions_while(self, lambda: bool(failing_calls().keys() - _BESIDE_PARTITIONS))
        self.add_lifecycle(self.shards.start, self.shards.close)
        self._follow_security()
        registration = WorkerRegistration(connect(settings), settings.region, self._entry)
        #: As the worker has registered itself.
        self.worker_id = registration.id
        self.add_lifecycle(registration.start, registration.stop)
        health = partial(health_while_waiting, settings.web_host, web_port(settings, role))
        timeout_s = settings.outbox.transaction_timeout_s
        self.add_lifecycle(partial(wait_for_maintenance, self.shards, timeout_s, health), _nothing)
        if role in PLACEMENT_ROLES:
            placement = PlacementService(
                settings, partial(raise_fence, self.shards), reads_other_regions=role == "forward"
            )
            self.placement_follower = follower = placement.follower
            self.add_lifecycle(placement.start, placement.stop)
            on_assigned(self, placement.wait_until_loaded)
            hold_partitions_while(self, lambda: follower.placement is None)
        on_partitions_started(self, _count_rebalance)
        lag = LoopLag()
        self.add_lifecycle(lag.start, lag.stop)
        metrics.BUILD.labels(__version__, settings.region, role).set(1)
        self.contacts = ContactRepository(self.shards, settings.outbox.transaction_timeout_s)
        self.preferences = PreferenceService(settings, self.categories, self.shards, publisher_for(self, settings))
        self.add_lifecycle(self.preferences.start, self.preferences.stop)

    def _follow_security(self) -> None:
        """Use new passwords and certificates of Kafka, MongoDB and Redis when their files change."""
        settings = self.settings
        connections = [(settings.kafka_connection(), settings.kafka_security)]
        if self.role == "forward":
            remote, own = settings.remote_kafka_connections(), settings.remote_kafka_security
            connections += [(one, own.get(region, settings.kafka_security)) for region, one in remote.items()]
        redis = access_with(settings.redis_security)
        followed: list[FollowedFiles[Any]] = [
            *(follow_security(one.group, security, client_options, one.use) for one, security in connections),
            follow_security("mongo_security", settings.mongo_security, lambda new: new, self.shards.use),
            follow_security("redis_security", settings.redis_security, redis.loaded, redis.use),
        ]
        for files in followed:
            self.add_lifecycle(files.start, files.close)

    def _entry(self, worker_id: str) -> WorkerEntry:
        return WorkerEntry(
            worker_id,
            self.role,
            advertised_host(self.settings),
            web_port(self.settings, self.role),
            len(known_offsets(self) or ()),
            __version__,
        )

    def templates(self) -> Templates:
        """The compiled templates of all categories. Compiling takes 0.1 s, so only roles that use them do it.

        Raises:
            SettingsError: a template is missing or not valid.
        """
        return configured_templates(channels_of_templates(self.categories))

    def add_lifecycle(self, start: Callable[[], Awaitable[None]], stop: Callable[[], Awaitable[None]]) -> None:
        """Await `start` before the first record is read, `stop` after the last one was acknowledged."""
        app_state(self).lifecycles.append((start, stop))

    def add_stop(self, stop: Callable[[], Awaitable[None]]) -> None:
        """Await `stop` after the last record was acknowledged."""
        self.add_lifecycle(_nothing, stop)

    def placement(self) -> Placement:
        """Which region serves each home region now; known before the first record is read.

        Raises:
            RuntimeError: it is not known yet, or the role does not follow it.
        """
        placement = None if self.placement_follower is None else self.placement_follower.placement
        if placement is None:
            raise RuntimeError(f"role {self.role} does not know the placement")
        return placement

    def shard_now(self, bucket: int) -> datetime:
        """What the clock of the bucket's shard shows at least, in whole milliseconds.

        Before its first reading it is this machine's.
        """
        return self.shards.clocks.earliest(self.shards.of(bucket))

    def earlier_now(self, bucket: int) -> datetime:
        """The earlier one of what this machine's clock and that of the bucket's shard show."""
        return self.shards.clocks.earlier_now(self.shards.of(bucket))

    def later_now(self, bucket: int) -> datetime:
        """The later one of both."""
        return self.shards.clocks.later_now(self.shards.of(bucket))

    def table_store(self, topic: str) -> StoreFactory:
        """Where the table of `topic` has its rows."""
        tables = self.settings.tables
        if tables.store == "memory":
            return in_memory
        folder = Path(tables.folder or self.settings.data_dir) / self.settings.region / self.role / "tables" / topic
        # A row holds the index of its region.
        form = " ".join((__version__, str(self.settings.partitions), *self.settings.regions))
        return on_disk(folder, form, max_bytes=tables.max_bytes, keep_revoked_s=tables.keep_revoked_s)

    def batched_topic(self, topic: str) -> TopicT:
        """A topic that delivers one event for each batch."""
        return batched_topic(self, topic, partitions=self.settings.partitions)

    async def send_batch(
        self, topic: str, partition: int, records: Sequence[tuple[bytes | None, bytes | None, Headers]]
    ) -> SentBatch | None:
        """See `BatchProducer.send_batch`."""
        return await producer_of(self).send_batch(topic, partition, records)

    def _new_web(self) -> Web:
        return Web(self, _WEB_LIMITS_OF.get(self.role, _WEB_LIMITS), self.web_started)

    def _create_directories(self) -> None:
        Path(self.conf.datadir).mkdir(parents=True, exist_ok=True)  # Faust creates the last directory only
        super()._create_directories()

    async def on_started(self) -> None:
        await super().on_started()
        tune_gc()  # after table recovery, because the rows stay
        sys.setswitchinterval(_SWITCH_INTERVAL_S)


def _count_rebalance(stopped_s: float | None) -> None:
    metrics.REBALANCES.inc()
    if stopped_s is not None:
        metrics.REBALANCE.observe(stopped_s)


async def _nothing() -> None:
    return


def web_port(settings: Settings, role: str) -> int:
    """The port on which a worker of `role` serves its web views."""
    return settings.web_port or settings.web_port_base + ROLES.index(role)


def build_app(settings: Settings, role: str) -> NotifyApp:
    """The application of `role`. Faust imports its tables and agents at the start (`autodiscover`).

    Raises:
        SettingsError: there is no such role, the categories are not valid, or the credential of a channel's provider is missing.
    """
    if role not in MODULES:
        raise SettingsError(f"there is no role {role!r}; roles are {', '.join(ROLES)}")
    if role in CHANNEL_ROLES:
        # The other roles need no clients of providers.
        from notify_streams.delivery.providers import check_credentials

        check_credentials(settings.providers, channel_of(role))
    app = NotifyApp(settings, role)
    app.web.blueprints = BlueprintManager(
        [("", _BLUEPRINTS.get(role, "notify_streams.web.worker_views:worker_blueprint"))]
    )
    return app


def run_worker(app: NotifyApp, level: str) -> NoReturn:
    """Run the worker until SIGTERM or SIGINT, then exit."""
    app.discover()
    config = logging_config(level, app.settings.region, app.role)
    worker = PromptWorker(app, loglevel=level, logging_config=config, quiet=True)
    worker.execute_from_commandline()


@cache
def worker_app() -> NotifyApp:
    """The one application of this process, from ``NOTIFY_REGION`` and ``NOTIFY_ROLE``.

    Raises:
        SettingsError: a variable is missing, or the settings are not valid.
    """
    region, role = os.environ.get("NOTIFY_REGION"), os.environ.get("NOTIFY_ROLE")
    if not region or not role:
        raise SettingsError("set NOTIFY_REGION and NOTIFY_ROLE, for example to us and standard")
    return build_app(load_settings(region, overlay=local_overlay(region)), role)


def _transport_settings(settings: Settings, role: str) -> TransportSettings:
    broker = settings.broker
    critical = lane_of(role) == "critical"
    instance = None if critical else broker.instance
    session_timeout_s = broker.session_timeout_s if instance is None else broker.static_session_timeout_s
    return TransportSettings(
        fetch_max_wait_ms=broker.fetch_max_wait_ms,
        fetch_gap_s=broker.fetch_gap_s,
        max_batch_records=broker.forward_batch_records if role == "forward" else broker.batch_records,
        max_batch_bytes=broker.batch_bytes,
        # A dead letter holds the bytes of the record that it replaces.
        max_record_bytes=settings.max_record_bytes + HEADROOM_BYTES,
        session_timeout_s=broker.critical_session_timeout_s if critical else session_timeout_s,
        heartbeat_s=broker.critical_heartbeat_s if critical else broker.heartbeat_s,
        group_instance_id=instance,
        rebalance_timeout_s=broker.rebalance_timeout_s,
        produce_timeout_s=settings.outbox.publish_timeout_s,
        request_timeout_s=broker.request_timeout_s,
        missing_topics_remedy=f"run `notify-streams topics ensure --region {settings.region}` first",
    )


def __getattr__(name: str) -> NotifyApp:
    """Build ``app`` at its first use: ``faust -A`` and the agents import it."""
    if name == "app":
        return worker_app()
    raise AttributeError(name)
