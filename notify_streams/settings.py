"""Settings: read once into one frozen object and passed down.

Layers, later ones win: the defaults here, ``config/<region>.yaml``, the overlay that the local stack wrote (only service
addresses, only where a local stack runs), ``NOTIFY_…`` environment variables (``NOTIFY_REDIS``, ``NOTIFY_BROKER__SESSION_TIMEOUT_S``:
two underscores go one level down; a text is taken as it is, everything else is YAML). An unknown key or a bad value raises
`SettingsError`, whose message never shows a value: that may be a credential.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import yaml

from notify_streams.errors import SettingsError
from notify_streams.kafka import KafkaConnection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PREFIX: Final = "NOTIFY_"
#: Read by others than `load_settings`: they choose which settings to load, or belong to the local stack and its tests.
_NOT_SETTINGS: Final = frozenset(
    {
        "NOTIFY_ROLE",
        "NOTIFY_CONFIG_DIR",
        "NOTIFY_STACK_DIR",
        "NOTIFY_STACK_PORTS",
        "NOTIFY_FAILPOINTS",
        "NOTIFY_REGION",
        # systemd's, for every service that it starts with Type=notify
        "NOTIFY_SOCKET",
    }
)
_OF_TESTS: Final = "NOTIFY_TEST_"
#: What Kafka allows in a topic's name, of which these are a part.
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
#: A record that is handed on has a key and headers that it may have lacked.
_HANDED_ON_BYTES: Final = 16 * 1024

Positive = Annotated[int, msgspec.Meta(gt=0)]
PositiveS = Annotated[float, msgspec.Meta(gt=0)]


class _Frozen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A group of settings."""


class ProviderSettings(_Frozen, frozen=True):
    """Where the providers answer, and how long a call may take."""

    fcm: str = "https://fcm.googleapis.com"
    apns: str = "https://api.push.apple.com"
    twilio: str = "https://api.twilio.com"
    smtp: str = "smtp://localhost:25"
    timeout_s: PositiveS = 5.0
    #: Calls under way at once, per worker.
    max_in_flight: Positive = 256


class EdgePopSettings(_Frozen, frozen=True):
    """A point of presence of the edge: `kind` is ``http``, ``cloudflare`` or ``fastly``."""

    name: str
    url: str
    kind: str = "http"
    token: str = ""


class BrokerSettings(_Frozen, frozen=True):
    """Kafka's timeouts for a worker; the critical roles have their own, shorter ones."""

    session_timeout_s: PositiveS = 6.0
    heartbeat_s: PositiveS = 1.5
    critical_session_timeout_s: PositiveS = 1.5
    critical_heartbeat_s: PositiveS = 0.4
    rebalance_timeout_s: PositiveS = 20.0
    request_timeout_s: PositiveS = 10.0
    fetch_max_wait_ms: Positive = 50
    #: Fetches of a worker begin at least this far apart.
    fetch_gap_s: PositiveS = 0.01
    #: Bounds of one batch handed to an agent.
    batch_records: Positive = 2_000
    #: The forward role's: one partition carries up to two of them in a round trip, which between continents is 80 to 150 ms.
    forward_batch_records: Positive = 8_000
    batch_bytes: Positive = 4 * 1024 * 1024


class OutboxSettings(_Frozen, frozen=True):
    """Bounds of a flush."""

    #: A flush takes what waits, up to this many triggers.
    flush_records: Positive = 4_000
    #: Triggers that may wait for a flush before the agent stops reading.
    waiting_records: Positive = 8_000
    #: The same two bounds in bytes of what is to be published: a transaction must end within its timeout, and fit into the part of
    #: MongoDB's cache that may be dirty (a fifth; the local stack's shards have 256 MB).
    flush_bytes: Positive = 16 * 1024 * 1024
    waiting_bytes: Positive = 64 * 1024 * 1024
    transaction_timeout_s: PositiveS = 5.0
    publish_timeout_s: PositiveS = 10.0
    sweep_every_s: PositiveS = 5.0


class PreferenceSettings(_Frozen, frozen=True):
    """How long preferences may be remembered, and the bound that the checks keep."""

    cache_ttl_s: PositiveS = 60.0
    delta_ttl_s: PositiveS = 300.0
    #: No provider call starts later than this after an opt-out was acknowledged.
    bound_s: PositiveS = 1.0
    redis_timeout_s: PositiveS = 0.25


class Settings(_Frozen, frozen=True, kw_only=True):
    """Everything one region's processes need to know. URIs may hold credentials: never log this object."""

    region: str
    regions: tuple[str, ...] = ("us", "eu", "asia")
    partitions: Positive = 8
    replication: Positive = 3
    trigger_systems: tuple[str, ...] = ("payments", "marketing", "security")
    #: The largest record that the trigger topics take; larger ones are refused by Kafka itself.
    max_record_bytes: Positive = 2 * 1024 * 1024
    #: A trigger above this is a dead letter (``too_large``).
    max_trigger_bytes: Positive = 256 * 1024

    kafka: str
    #: Kafka of the other regions; only the forward role connects there.
    remote_kafka: dict[str, str] = {}
    shards: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    #: Buckets that were moved away from ``bucket % len(shards)``.
    bucket_shards: dict[int, int] = {}
    database: str = "notify"
    redis: str
    dynamodb: str | None = None
    users_table: str = "users"
    #: How often the registry role compares all locations with the registry.
    reconcile_every_s: PositiveS = 900.0
    edge: tuple[EdgePopSettings, ...] = ()
    #: The region that serves this one's people while it is away, and gets their contacts for that.
    standby: str | None = None

    providers: ProviderSettings = ProviderSettings()
    broker: BrokerSettings = BrokerSettings()
    outbox: OutboxSettings = OutboxSettings()
    preferences: PreferenceSettings = PreferenceSettings()

    web_host: str = "127.0.0.1"
    #: Each role's web views listen on this port plus the role's place in `roles.ROLES`.
    web_port_base: Positive = 6066
    #: Instead of that, for a second worker of a role on one machine.
    web_port: Positive | None = None
    #: Bearer token of every view that shows a person's data or changes something; without one these are refused.
    web_token: str | None = None
    data_dir: str = ".stack/data"
    #: Written by the local stack's provider sandbox; the audit compares with it where it is set.
    sandbox_record: str | None = None

    def kafka_connection(self) -> KafkaConnection:
        """How to connect to this region's Kafka."""
        return KafkaConnection(self.kafka)

    def remote_kafka_connections(self) -> dict[str, KafkaConnection]:
        """How to connect to the Kafka of each other region."""
        return {region: KafkaConnection(servers) for region, servers in self.remote_kafka.items()}

    def shard_of(self, bucket: int) -> int:
        """The index in `shards` of the one shard that holds `bucket`."""
        return self.bucket_shards.get(bucket, bucket % len(self.shards))


def load_settings(
    region: str,
    *,
    environ: Mapping[str, str] | None = None,
    config_dir: Path | None = None,
    overlay: Path | None = None,
) -> Settings:
    """Read the settings of `region`.

    Raises:
        SettingsError: naming the file or variable, the key and what is wrong with it.
    """
    environ = os.environ if environ is None else environ
    config_dir = config_dir or Path(environ.get("NOTIFY_CONFIG_DIR", "config"))
    file = config_dir / f"{region}.yaml"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in config_dir.glob("*.yaml") if path.stem != "categories"))
        raise SettingsError(
            f"there is no {file}; regions with a file there: {known or 'none'} (NOTIFY_CONFIG_DIR moves it)"
        )
    merged: dict[str, Any] = {"region": region} | _read(file)
    if overlay is not None:
        merged |= _read(overlay)  # whole keys: a stack of one region knows no other region's Kafka
    _layer(merged, _from_environ(environ))
    try:
        settings = msgspec.convert(merged, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"settings of region {region!r} ({file}, {_PREFIX}… variables): {error}") from error
    if settings.region != region:
        raise SettingsError(f"{file} is of region {settings.region!r}, not {region!r}")
    _check(settings)
    return settings


def _read(file: Path) -> dict[str, Any]:
    try:
        content = _yaml(str(file), file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{file} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}"
        ) from error
    if not isinstance(content, dict):
        raise SettingsError(f"{file} must hold keys and values, not {type(content).__name__}")
    return content


def _from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, text in sorted(environ.items()):  # a group before what is in it
        if not name.startswith(_PREFIX) or name.startswith(_OF_TESTS) or name in _NOT_SETTINGS:
            continue
        *groups, last = name.removeprefix(_PREFIX).lower().split("__")
        place = found
        for group in groups:
            place = place.setdefault(group, {})
            if not isinstance(place, dict):
                raise SettingsError(f"{name}: another variable sets {group} as a whole, to what has no keys")
        place[last] = (text or None) if _is_text([*groups, last]) else _yaml(name, text)
    return found


def _is_text(path: Sequence[str]) -> bool:
    """Whether the setting is a text: taken as it is, because YAML would read a token such as ``#1`` or ``1_0`` as something else."""
    kind: Any = Settings
    for name in path:
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            return False
        kind = next((field.type for field in msgspec.structs.fields(kind) if field.name == name), None)
    return kind is str or kind == str | None


def _yaml(name: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        # Without the excerpt that the error's own text has: it may show a credential.
        mark = error.problem_mark
        where = "" if mark is None else f" in line {mark.line + 1}, column {mark.column + 1}"
        raise SettingsError(f"{name} is not YAML: {error.problem}{where}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # such as a date that there is not
        raise SettingsError(f"{name} is not YAML: {type(error).__name__}") from None


def _layer(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _layer(below[key], value)
        else:
            below[key] = value


def _check(settings: Settings) -> None:
    for key, names in (("regions", settings.regions), ("trigger_systems", settings.trigger_systems)):
        if not names or len(set(names)) < len(names) or not all(map(_NAME.fullmatch, names)):
            raise SettingsError(f"{key} must be different names of letters, digits, dots, hyphens and underscores")
    if "forwarded" in settings.trigger_systems:
        raise SettingsError(
            "trigger_systems: triggers.forwarded is the topic of what other regions send; choose another name"
        )
    if settings.region not in settings.regions:
        raise SettingsError(f"region {settings.region!r} is not among regions {', '.join(settings.regions)}")
    if settings.standby is not None and settings.standby not in settings.regions:
        raise SettingsError(f"standby {settings.standby!r} is not among regions {', '.join(settings.regions)}")
    for bucket, shard in settings.bucket_shards.items():
        if not (0 <= bucket < settings.partitions and 0 <= shard < len(settings.shards)):
            raise SettingsError(
                f"bucket_shards: {bucket}: {shard}: there are {settings.partitions} buckets and {len(settings.shards)} shards"
            )
    if settings.max_trigger_bytes + _HANDED_ON_BYTES > settings.max_record_bytes:
        raise SettingsError(
            f"max_trigger_bytes must be at least {_HANDED_ON_BYTES} below max_record_bytes, or a trigger could not be handed on"
        )
    broker = settings.broker
    if broker.heartbeat_s * 3 > broker.session_timeout_s:
        raise SettingsError("broker.heartbeat_s must be at most a third of broker.session_timeout_s")
    if broker.critical_heartbeat_s * 3 > broker.critical_session_timeout_s:
        raise SettingsError("broker.critical_heartbeat_s must be at most a third of broker.critical_session_timeout_s")
