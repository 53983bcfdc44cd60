"""Settings: read once into one frozen object that is passed down.

Later layers override earlier ones: the defaults here; ``config/<region>.yaml``; the overlay with service addresses that a local stack
wrote; ``NOTIFY_…`` environment variables. Two underscores in a variable's name go one level down
(``NOTIFY_BROKER__SESSION_TIMEOUT_S``); strings are taken literally, other types are parsed as YAML.
An unknown key or an invalid value raises `SettingsError`. Its message never shows a value, which may be a credential.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
import yaml

from notify_streams.errors import SettingsError
from notify_streams.kafka import KafkaConnection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: In a source checkout the folder with `config/` and the local stack's `.stack/`, whatever the working directory is.
_CHECKOUT: Final = Path(__file__).resolve().parents[1]
_PREFIX: Final = "NOTIFY_"
#: Variables that are not settings: they select which settings to load, or belong to the local stack and its tests.
_NOT_SETTINGS: Final = frozenset(
    {
        "NOTIFY_ROLE",
        "NOTIFY_CONFIG_DIR",
        "NOTIFY_STACK_DIR",
        "NOTIFY_STACK_PORTS",
        "NOTIFY_FAILPOINTS",
        "NOTIFY_REGION",
        # set by systemd for services with Type=notify
        "NOTIFY_SOCKET",
    }
)
_TEST_PREFIX: Final = "NOTIFY_TEST_"
#: Regions and upstream systems are parts of topic names: the characters that Kafka allows there.
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
#: Space for the key and headers that are added when a trigger is forwarded or repartitioned.
_ADDED_BYTES: Final = 16 * 1024

Positive = Annotated[int, msgspec.Meta(gt=0)]
PositiveS = Annotated[float, msgspec.Meta(gt=0)]


class _Frozen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A group of settings."""


class ProviderSettings(_Frozen, frozen=True):
    """Addresses of the providers, and limits of calls to them."""

    fcm: str = "https://fcm.googleapis.com"
    apns: str = "https://api.push.apple.com"
    twilio: str = "https://api.twilio.com"
    smtp: str = "smtp://localhost:25"
    #: `require`: no mail without STARTTLS and a valid certificate for the host; `starttls`: TLS if the server offers it; `none`: no TLS.
    #: None: `none` for a loopback host, else `require`. An smtps:// address always means TLS.
    smtp_tls: Literal["require", "starttls", "none"] | None = None
    #: Authorities that may sign the mail server's certificate (PEM); None: those of the system.
    smtp_ca_file: str | None = None
    timeout_s: PositiveS = 5.0
    #: Concurrent calls of one worker.
    max_in_flight: Positive = 256


class EdgePopSettings(_Frozen, frozen=True):
    """A point of presence; `kind` is ``http``, ``cloudflare`` or ``fastly``."""

    name: str
    url: str
    kind: str = "http"
    token: str = ""


class BrokerSettings(_Frozen, frozen=True):
    """Timeouts and batch limits of a worker's Kafka clients; the critical roles have shorter session timeouts."""

    session_timeout_s: PositiveS = 6.0
    heartbeat_s: PositiveS = 1.5
    critical_session_timeout_s: PositiveS = 1.5
    critical_heartbeat_s: PositiveS = 0.4
    rebalance_timeout_s: PositiveS = 20.0
    request_timeout_s: PositiveS = 10.0
    fetch_max_wait_ms: Positive = 50
    #: The shortest time between the starts of two fetches.
    fetch_gap_s: PositiveS = 0.01
    #: Limits of one batch (`batch_bytes` too).
    batch_records: Positive = 2_000
    #: For the forward role. One partition sends at most two batches in a round trip, which takes 80 to 150 ms between continents.
    forward_batch_records: Positive = 8_000
    batch_bytes: Positive = 4 * 1024 * 1024


class OutboxSettings(_Frozen, frozen=True):
    """Limits of a flush."""

    #: Triggers in one flush.
    flush_records: Positive = 4_000
    #: Triggers in the flush queue; the agent waits while it is full.
    waiting_records: Positive = 8_000
    #: The same two limits in bytes to publish. A transaction must end within its timeout and fit into the dirty part of MongoDB's
    #: cache: one fifth of the cache, which has 256 MB in the local stack.
    flush_bytes: Positive = 16 * 1024 * 1024
    waiting_bytes: Positive = 64 * 1024 * 1024
    transaction_timeout_s: PositiveS = 5.0
    publish_timeout_s: PositiveS = 10.0
    sweep_every_s: PositiveS = 5.0


class PreferenceSettings(_Frozen, frozen=True):
    """Lifetimes of cached preferences, and the staleness bound."""

    cache_ttl_s: PositiveS = 60.0
    delta_ttl_s: PositiveS = 300.0
    #: No provider call starts later than this after an opt-out was acknowledged.
    bound_s: PositiveS = 1.0
    redis_timeout_s: PositiveS = 0.25


class Settings(_Frozen, frozen=True, kw_only=True):
    """All settings of one region's processes. URIs may contain credentials: never log this object."""

    region: str
    regions: tuple[str, ...] = ("us", "eu", "asia")
    partitions: Positive = 8
    replication: Positive = 3
    trigger_systems: tuple[str, ...] = ("payments", "marketing", "security")
    #: `max.message.bytes` of the trigger topics.
    max_record_bytes: Positive = 2 * 1024 * 1024
    #: A larger trigger becomes a dead letter (``too_large``).
    max_trigger_bytes: Positive = 256 * 1024

    kafka: str
    #: Kafka of the other regions, by region; only the forward role connects to it.
    remote_kafka: dict[str, str] = {}
    shards: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    #: Bucket → shard, for buckets that were moved from ``bucket % len(shards)``.
    bucket_shards: dict[int, int] = {}
    database: str = "notify"
    redis: str
    dynamodb: str | None = None
    users_table: str = "users"
    #: Time between two comparisons of all locations with the registry.
    reconcile_every_s: PositiveS = 900.0
    edge: tuple[EdgePopSettings, ...] = ()
    #: The region that serves this region's users after a failover, and gets copies of their contacts.
    standby: str | None = None

    providers: ProviderSettings = ProviderSettings()
    broker: BrokerSettings = BrokerSettings()
    outbox: OutboxSettings = OutboxSettings()
    preferences: PreferenceSettings = PreferenceSettings()

    web_host: str = "127.0.0.1"
    #: A role's web views listen on this port plus the role's index in `roles.ROLES`.
    web_port_base: Positive = 6066
    #: Overrides that port, for a second worker of a role on one machine.
    web_port: Positive | None = None
    #: Bearer token for views that show a user's data or change something; without it these views respond with 403.
    web_token: str | None = None
    data_dir: str = ".stack/data"
    #: The provider log of the local stack's sandbox, for the audit.
    sandbox_record: str | None = None

    def kafka_connection(self) -> KafkaConnection:
        """How to connect to this region's Kafka."""
        return KafkaConnection(self.kafka)

    def remote_kafka_connections(self) -> dict[str, KafkaConnection]:
        """How to connect to the Kafka of each other region."""
        return {region: KafkaConnection(servers) for region, servers in self.remote_kafka.items()}

    def shard_of(self, bucket: int) -> int:
        """The index in `shards` of the shard that holds `bucket`."""
        return self.bucket_shards.get(bucket, bucket % len(self.shards))


def config_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of ``<region>.yaml`` and ``categories.yaml``: ``NOTIFY_CONFIG_DIR``, by default that of the checkout."""
    return Path(environ.get("NOTIFY_CONFIG_DIR") or _CHECKOUT / "config")


def local_overlay(region: str, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The settings file that the local stack wrote for `region`.

    None if ``NOTIFY_CONFIG_DIR`` is set without ``NOTIFY_STACK_DIR``: only then its service addresses are used as they are.

    Raises:
        SettingsError: the local stack is not up.
    """
    stack, config = environ.get("NOTIFY_STACK_DIR"), config_folder(environ)
    if not (config / f"{region}.yaml").is_file() or (not stack and environ.get("NOTIFY_CONFIG_DIR")):
        return None
    file = Path(stack or _CHECKOUT / ".stack") / f"{region}.yaml"
    if not file.is_file():
        raise SettingsError(
            f"the local stack of region {region} is not running (no {file}): start it with `notify-streams stack up --regions "
            f"{region}`; for other services set NOTIFY_CONFIG_DIR to the folder of their settings"
        )
    return file


def load_settings(
    region: str,
    *,
    environ: Mapping[str, str] | None = None,
    config_dir: Path | None = None,
    overlay: Path | None = None,
) -> Settings:
    """The settings of `region`, from the four layers.

    Raises:
        SettingsError: names the file or variable, the key and the problem.
    """
    environ = os.environ if environ is None else environ
    config_dir = config_dir or config_folder(environ)
    file = config_dir / f"{region}.yaml"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in config_dir.glob("*.yaml") if path.stem != "categories"))
        raise SettingsError(
            f"{file} does not exist; use a region that has a file ({known or 'none'}) or set NOTIFY_CONFIG_DIR"
        )
    merged: dict[str, Any] = {"region": region} | _read(file)
    if overlay is not None:
        merged |= _read(overlay)  # replaces whole keys: the stack of one region has no Kafka of others
    _layer(merged, _from_environ(environ))
    try:
        settings = msgspec.convert(merged, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"settings of region {region!r} ({file}, {_PREFIX}… variables): {error}") from error
    if settings.region != region:
        raise SettingsError(f"{file} says region: {settings.region!r}; it must be {region!r}")
    _check(settings)
    return settings


def _read(file: Path) -> dict[str, Any]:
    try:
        content = _yaml(str(file), file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{file} must be a YAML mapping, not a {type(content).__name__}")
    return content


def _from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, text in sorted(environ.items()):  # a group comes before its keys
        if not name.startswith(_PREFIX) or name.startswith(_TEST_PREFIX) or name in _NOT_SETTINGS:
            continue
        *groups, last = name.removeprefix(_PREFIX).lower().split("__")
        group_values = values
        for group in groups:
            group_values = group_values.setdefault(group, {})
            if not isinstance(group_values, dict):
                raise SettingsError(f"{name}: another variable sets {group} to a value without keys; unset one of them")
        group_values[last] = (text or None) if _is_text([*groups, last]) else _yaml(name, text)
    return values


def _is_text(path: Sequence[str]) -> bool:
    """Whether the setting is a string. It is not parsed, because YAML reads a token such as ``#1`` or ``1_0`` differently."""
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
        # Without the excerpt in the error's own text, which may show a credential.
        mark = error.problem_mark
        where = "" if mark is None else f" in line {mark.line + 1}, column {mark.column + 1}"
        raise SettingsError(f"{name} is not YAML: {error.problem}{where}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # for example an impossible date
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
            raise SettingsError(
                f"{key} must be a list of distinct names of letters, digits, dots, hyphens and underscores"
            )
    if "forwarded" in settings.trigger_systems:
        raise SettingsError(
            "trigger_systems: 'forwarded' is reserved for the topic triggers.forwarded; choose another name"
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
    if settings.max_trigger_bytes + _ADDED_BYTES > settings.max_record_bytes:
        raise SettingsError(
            f"max_trigger_bytes must be at least {_ADDED_BYTES} below max_record_bytes, or a trigger could not be forwarded"
        )
    broker = settings.broker
    if broker.heartbeat_s * 3 > broker.session_timeout_s:
        raise SettingsError("broker.heartbeat_s must be at most a third of broker.session_timeout_s")
    if broker.critical_heartbeat_s * 3 > broker.critical_session_timeout_s:
        raise SettingsError("broker.critical_heartbeat_s must be at most a third of broker.critical_session_timeout_s")
