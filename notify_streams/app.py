"""The Faust application of one role in one region, wired from settings.

``NOTIFY_REGION`` and ``NOTIFY_ROLE`` choose which; ``faust -A notify_streams.app worker`` and ``notify-streams worker`` both end here.
Agents and tables are named as strings, so nothing in this package imports them. Nothing connects before the worker starts.
"""

from __future__ import annotations

import logging
import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import faust
from faust.web.base import BlueprintManager

from notify_streams.errors import SettingsError
from notify_streams.gc_tuning import tune_gc
from notify_streams.logs import logging_config
from notify_streams.preferences.categories import configured_categories
from notify_streams.preferences.publisher import publisher_for
from notify_streams.preferences.service import PreferenceService
from notify_streams.preferences.table_lag import TableLag
from notify_streams.regions.failover.placement_service import PlacementService
from notify_streams.roles import CHANNEL_ROLES, LANES, ROLES, app_id, lane_of
from notify_streams.settings import Settings, load_settings
from notify_streams.stores.mongo import Shards
from notify_streams.topics import HEADROOM_BYTES
from notify_streams.transport import (
    TransportSettings,
    attach,
    batch_producer,
    batched_topic,
    hold_partitions_while,
    on_assigned,
)
from notify_streams.transport.app_state import app_state

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from faust.types import TopicT

    from notify_streams.outbox.outbox import Outbox
    from notify_streams.records.batch import Headers
    from notify_streams.regions.failover.placement import Placement
    from notify_streams.regions.failover.placement_follower import PlacementFollower
    from notify_streams.regions.locations import Location
    from notify_streams.routing.recipient_lookup import RecipientLookup
    from notify_streams.transport import SentBatch

log = logging.getLogger(__name__)

_ROUTER: Final = (
    "tables.locations",
    "tables.contacts",
    "tables.preferences",
    "agents.route",
    "agents.apply_preferences",
    "agents.apply_contacts",
)
#: What each role imports: its tables, its agents.
MODULES: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(LANES, _ROUTER),
    **dict.fromkeys(CHANNEL_ROLES, ("agents.deliver",)),
    "registry": (
        "tables.locations",
        "tables.contacts",
        "agents.replicate",
        "agents.sign_up",
        "agents.reconcile",
        "agents.push_to_edge",
    ),
    "forward": ("agents.forward",),
    "receipts": ("agents.apply_receipts",),
}
#: Roles that must know who serves whom before they read anything.
_LEARNERS: Final = frozenset((*LANES, "registry", "forward"))
#: The event loop gives up the interpreter with every send, and gets it back from the fetch thread after this at the latest (Python: 5 ms).
SWITCH_INTERVAL_S: Final = 0.000_5


class NotifyApp(faust.App):
    """A Faust app that knows its region, its role, and the connections that live and die with it."""

    def __init__(self, settings: Settings, role: str) -> None:
        self.settings = settings
        self.role = role
        self.lane = lane_of(role)
        self.categories = configured_categories()
        self.shards = Shards(settings, app_name=app_id(settings.region, role), follows=True)
        #: What the role's agents offer to the web views; None on a role that has no such thing.
        self.way_out: Outbox | None = None
        self.people: RecipientLookup | None = None
        self.learning: PlacementFollower | None = None
        #: Where somebody is at home, on roles with the table of locations.
        self.locate: Callable[[str], Location | None] | None = None
        #: How far the table of preferences is behind its topic; told by `agents.apply_preferences`.
        self.table_lag = TableLag()
        super().__init__(
            app_id(settings.region, role),
            broker=[f"batched://{server.strip()}" for server in settings.kafka.split(",")],
            store="memory://",
            datadir=str(Path(settings.data_dir) / settings.region / role),
            autodiscover=list(MODULES[role]),
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
        attach(self, _transport_settings(settings, role))
        self.lives_with(self.shards.start, self.shards.close)
        if role in _LEARNERS:
            learner = PlacementService(settings, self.shards, asks_others=role == "forward")
            self.learning = learner.learning
            self.lives_with(learner.start, learner.stop)
            on_assigned(self, learner.learnt)
            hold_partitions_while(self, lambda: learner.learning.placement is None)
        publish = publisher_for(self)
        self.preference_parts = PreferenceService(settings, self.categories, self.shards, publish)
        self.lives_with(self.preference_parts.start, self.preference_parts.stop)

    def lives_with(self, start: Callable[[], Awaitable[None]], stop: Callable[[], Awaitable[None]]) -> None:
        """Start something before the first record is read, stop it after the last was acknowledged."""
        app_state(self).lifecycles.append((start, stop))

    def placement(self) -> Placement:
        """Which region serves each home region now; known before the first record is read.

        Raises:
            RuntimeError: it is not known yet, or the role does not follow it.
        """
        placement = None if self.learning is None else self.learning.placement
        if placement is None:
            raise RuntimeError(f"role {self.role} does not know the placement")
        return placement

    def batches_of(self, topic: str) -> TopicT:
        """A topic whose events are whole partition batches."""
        return batched_topic(self, topic, partitions=self.settings.partitions)

    async def send_batch(
        self, topic: str, partition: int, records: Sequence[tuple[bytes | None, bytes | None, Headers]]
    ) -> SentBatch | None:
        """Write one batch to one partition; returns when all in-sync replicas have it (see `BatchProducer.send_batch`)."""
        return await batch_producer(self).send_batch(topic, partition, records)

    def _create_directories(self) -> None:
        Path(self.conf.datadir).mkdir(parents=True, exist_ok=True)  # Faust makes the last folder only
        super()._create_directories()

    async def on_started(self) -> None:
        await super().on_started()
        tune_gc()  # the tables are recovered: their rows stay
        sys.setswitchinterval(SWITCH_INTERVAL_S)


def web_port(settings: Settings, role: str) -> int:
    """The port of a role's web views."""
    return settings.web_port or settings.web_port_base + ROLES.index(role)


def build(settings: Settings, role: str) -> NotifyApp:
    """The application of `role`; its tables and agents are found when it starts (`autodiscover`).

    Raises:
        SettingsError: there is no such role, or the categories cannot be used.
    """
    if role not in MODULES:
        raise SettingsError(f"there is no role {role!r}; roles are {', '.join(ROLES)}")
    found = NotifyApp(settings, role)
    found.web.blueprints = BlueprintManager([("", "notify_streams.web:blueprint")])
    return found


def run_worker(found: NotifyApp, level: str) -> NoReturn:
    """Work until SIGTERM or SIGINT; ends the process."""
    found.discover()
    worker = faust.Worker(found, loglevel=level, logging_config=logging_config(level), quiet=True)
    worker.execute_from_commandline()


@cache
def the_app() -> NotifyApp:
    """The process's one application, from ``NOTIFY_REGION`` and ``NOTIFY_ROLE``.

    Raises:
        SettingsError: a variable is missing, or the settings cannot be used.
    """
    region, role = os.environ.get("NOTIFY_REGION"), os.environ.get("NOTIFY_ROLE")
    if not region or not role:
        raise SettingsError("NOTIFY_REGION and NOTIFY_ROLE must say which worker this is, e.g. us and standard")
    return build(load_settings(region, overlay=local_overlay(region)), role)


def local_overlay(region: str) -> Path | None:
    """The settings that a running local stack wrote for `region`; None where there is no local stack."""
    file = Path(os.environ.get("NOTIFY_STACK_DIR", ".stack")) / f"{region}.yaml"
    return file if file.is_file() else None


def _transport_settings(settings: Settings, role: str) -> TransportSettings:
    broker = settings.broker
    critical = lane_of(role) == "critical"
    return TransportSettings(
        fetch_max_wait_ms=broker.fetch_max_wait_ms,
        fetch_gap_s=broker.fetch_gap_s,
        max_batch_records=broker.forward_batch_records if role == "forward" else broker.batch_records,
        max_batch_bytes=broker.batch_bytes,
        # A dead letter may be as large as anything that a client could write.
        max_record_bytes=settings.max_record_bytes + HEADROOM_BYTES,
        session_timeout_s=broker.critical_session_timeout_s if critical else broker.session_timeout_s,
        heartbeat_s=broker.critical_heartbeat_s if critical else broker.heartbeat_s,
        rebalance_timeout_s=broker.rebalance_timeout_s,
        request_timeout_s=broker.request_timeout_s,
        missing_topics_remedy=f"run `notify-streams topics ensure --region {settings.region}` first",
    )


def __getattr__(name: str) -> NotifyApp:
    """``notify_streams.app:app``, built at its first use: what ``faust -A`` and the agents import."""
    if name == "app":
        return the_app()
    raise AttributeError(name)
