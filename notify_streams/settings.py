"""Settings: read once into one frozen object that is passed down.

Later layers override earlier ones: the defaults here; ``config/<region>.yaml``; the overlay with service addresses that a local stack
wrote; the files in ``NOTIFY_SECRETS_DIR``, each named as its setting; ``NOTIFY_…`` environment variables. Two underscores in a variable's
name go one level down (``NOTIFY_BROKER__SESSION_TIMEOUT_S``); strings are taken literally, other types are parsed as YAML.
A setting may also be given as ``<setting>_file`` (``NOTIFY_<SETTING>_FILE``): the file's content is the value.
An unknown key or an invalid value raises `SettingsError`, which lists all that is wrong and never shows a value.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

from notify_streams import addresses
from notify_streams.addresses import AddressForm, Credentials, split_credentials
from notify_streams.errors import SettingsError
from notify_streams.field_errors import problem_of
from notify_streams.kafka import KafkaConnection, connection_to
from notify_streams.roles import ROLES
from notify_streams.secret import Secret
from notify_streams.security import KafkaSecurity, MongoSecurity, RedisSecurity
from notify_streams.settings_folder import config_folder, regions_of
from notify_streams.settings_layers import PREFIX, environ_layer, merge, read_layer, read_value_files, secrets_layer
from notify_streams.settings_providers import ProviderSettings
from notify_streams.settings_public import PublicSettings
from notify_streams.settings_retention import RetentionSettings
from notify_streams.settings_tracing import TracingSettings
from notify_streams.settings_types import (
    MAX_DISK_PARTITIONS,
    MAX_PORT,
    MAX_S,
    IntervalS,
    Port,
    Positive,
    Positive32,
    PositiveS,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Regions and upstream systems are parts of topic names: the characters that Kafka allows there.
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
#: The characters of RFC 6750; long enough not to be guessed.
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]{16,}")
#: What Kafka takes as `group.instance.id`.
_INSTANCE: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
#: Space for the key and headers that are added when a trigger is forwarded or repartitioned.
_ADDED_BYTES: Final = 16 * 1024
#: What MongoDB takes as the name of a database on every system.
_DATABASE: Final = re.compile(r"[A-Za-z0-9_-]{1,63}")
#: https://www.mongodb.com/docs/manual/core/transactions/#restricted-operations
_NO_TRANSACTIONS: Final = frozenset({"admin", "config", "local"})
#: A row of the locations table holds the number of one (`regions.locations`).
_MAX_REGIONS: Final = 63
#: For which a worker that gives partitions away waits for what is in flight (`transport.TransportSettings.drain_timeout_s`).
_DRAIN_S: Final = 5.0
#: Twilio repeats no callback that had another answer than 2xx, or none in time, unless its URL asks for it: five times at most, within 15 s
#: (https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides). It signs the URL without this part.
_TWILIO_REPEATS: Final = "rc=5&rp=all"
_EDGE_KINDS: Final = ("http", "cloudflare", "fastly")


class _Frozen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A group of settings."""


class EdgePopSettings(_Frozen, frozen=True):
    """A point of presence; `kind` is ``http``, ``cloudflare`` or ``fastly``."""

    name: str
    url: str
    kind: str = "http"
    token: Secret = Secret("")


class BrokerSettings(_Frozen, frozen=True):
    """Timeouts and batch limits of a worker's Kafka clients; the critical roles have shorter session timeouts."""

    session_timeout_s: PositiveS = 6.0
    heartbeat_s: PositiveS = 1.5
    critical_session_timeout_s: PositiveS = 1.5
    critical_heartbeat_s: PositiveS = 0.4
    #: The worker's name in its consumer group (`group.instance.id`), the same at each start and no other worker's: that of a pod of a
    #: StatefulSet. A restart within `static_session_timeout_s` then moves no partition. Not for critical roles. None: it leaves the
    #: group at its end.
    instance: str | None = None
    #: Until the partitions of a worker with an `instance` move to others when it does not come back.
    static_session_timeout_s: PositiveS = 60.0
    rebalance_timeout_s: PositiveS = 20.0
    request_timeout_s: PositiveS = 10.0
    fetch_max_wait_ms: Positive32 = 50
    #: The shortest time between the starts of two fetches.
    fetch_gap_s: Annotated[float, msgspec.Meta(gt=0, le=MAX_S)] = 0.01
    #: Limits of one batch (`batch_bytes` too).
    batch_records: Positive = 2_000
    #: For the forward role. One partition sends at most two batches in a round trip, which takes 80 to 150 ms between continents.
    forward_batch_records: Positive = 8_000
    batch_bytes: Positive32 = 4 * 1024 * 1024


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
    #: Of one Kafka batch, at most a megabyte.
    publish_timeout_s: PositiveS = 10.0
    sweep_every_s: IntervalS = 5.0


class TableSettings(_Frozen, frozen=True):
    """Where a worker keeps its copies of contacts, choices and locations."""

    #: `disk`: in LMDB files, so that memory does not limit the number of people, and a worker that restarts reads only what is new.
    store: Literal["memory", "disk"] = "memory"
    #: Of the files, in it ``<region>/<role>/tables``; None: `data_dir`. Each worker needs one that outlives it.
    folder: str | None = None
    #: Limit of each table's file.
    max_bytes: Positive = 64 * 1024**3
    #: Seconds for which the rows of a partition that another worker got are kept.
    keep_revoked_s: PositiveS = 3600.0
    #: Choices that a router keeps decoded for `preferences.cache_ttl_s`, for each of its partitions.
    cached_choices: Positive = 65_536


class PreferenceSettings(_Frozen, frozen=True):
    """Lifetimes of cached preferences, and the staleness bound."""

    cache_ttl_s: PositiveS = 60.0
    delta_ttl_s: PositiveS = 300.0
    #: No provider call starts later than this after an opt-out was acknowledged.
    bound_s: IntervalS = 1.0
    redis_timeout_s: PositiveS = 0.25


_Rate = Annotated[float, msgspec.Meta(gt=0, le=1)]


class ReputationSettings(_Frozen, frozen=True):
    """Above which rates the mails of a category are paused; a rate of 1 is no limit."""

    #: Fewer mails within the window pause nothing.
    min_sent: Positive = 1_000
    bounce_rate: _Rate = 0.05
    complaint_rate: _Rate = 0.001
    window_h: Annotated[int, msgspec.Meta(gt=0, le=8_784)] = 24


class Settings(_Frozen, frozen=True, kw_only=True):
    """All settings of one region's processes."""

    region: str
    regions: tuple[str, ...] = ("us", "eu", "asia")
    #: A row of the locations table has 20 bits for one (`regions.locations`).
    partitions: Annotated[int, msgspec.Meta(gt=0, le=2**20)] = 8
    replication: Annotated[int, msgspec.Meta(gt=0, le=2**15 - 1)] = 3
    trigger_systems: tuple[str, ...] = ("payments", "marketing", "security")
    #: By system: whether `notification_events.<system>` is written. A system without an entry has events.
    notification_events: dict[str, bool] = {}
    #: `max.message.bytes` of the trigger topics.
    max_record_bytes: Positive32 = 2 * 1024 * 1024
    #: How long a trigger of an unknown user waits for the sign-up before it becomes a dead letter (``unknown_user``); that of a new user
    #: without contacts waits as long.
    user_wait_s: Annotated[float, msgspec.Meta(ge=0, le=MAX_S)] = 30.0
    #: A larger trigger becomes a dead letter (``too_large``).
    max_trigger_bytes: Positive32 = 256 * 1024

    kafka: str
    #: Kafka of the other regions, by region; only the forward role connects to it.
    remote_kafka: dict[str, str] = {}
    shards: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    #: Bucket → shard, for buckets that were moved from ``bucket % len(shards)``.
    bucket_shards: dict[int, int] = {}
    database: str = "notify"
    redis: str
    kafka_security: KafkaSecurity = KafkaSecurity()
    #: By region; a region without an entry has `kafka_security`.
    remote_kafka_security: dict[str, KafkaSecurity] = {}
    mongo_security: MongoSecurity = MongoSecurity()
    redis_security: RedisSecurity = RedisSecurity()
    dynamodb: str | None = None
    users_table: str = "users"
    #: Time between two comparisons of all locations with the registry.
    reconcile_every_s: IntervalS = 900.0
    #: Seconds between the two passes of an erasure. The second one removes what was under way in the first, and what refused messages in the
    #: meantime, so it must not come before `preferences.delta_ttl_s` has passed.
    erasure_settles_s: PositiveS = 600.0
    edge: tuple[EdgePopSettings, ...] = ()
    #: The region that serves this region's users after a failover, and gets copies of their contacts.
    standby: str | None = None

    providers: ProviderSettings = ProviderSettings()
    broker: BrokerSettings = BrokerSettings()
    outbox: OutboxSettings = OutboxSettings()
    preferences: PreferenceSettings = PreferenceSettings()
    reputation: ReputationSettings = ReputationSettings()
    public: PublicSettings = PublicSettings()
    retention: RetentionSettings = RetentionSettings()
    tables: TableSettings = TableSettings()
    tracing: TracingSettings = TracingSettings()

    web_host: str = "127.0.0.1"
    #: A role's web views listen on this port plus the role's index in `roles.ROLES`.
    web_port_base: Port = 6066
    #: Overrides that port, for a second worker of a role on one machine.
    web_port: Port | None = None
    #: Where other machines of the region reach this worker's web views: a name or an address. None: `web_host`; where that is all
    #: addresses, the one from which it reaches Redis.
    web_advertised_host: str | None = None
    #: Bearer tokens of the role `views`: to read users' data, to change it, and for points of presence to read locations. The views
    #: of a right without a token respond with 403.
    web_read_token: Secret | None = None
    web_write_token: Secret | None = None
    web_edge_token: Secret | None = None
    data_dir: str = ".stack/data"
    #: The provider log of the local stack's sandbox, for the audit.
    sandbox_record: str | None = None

    def kafka_connection(self) -> KafkaConnection:
        """How to connect to this region's Kafka."""
        return connection_to(self.kafka, self.kafka_security)

    def remote_kafka_connections(self) -> dict[str, KafkaConnection]:
        """How to connect to the Kafka of each other region."""
        own = self.remote_kafka_security
        return {
            region: connection_to(servers, own[region], f"remote_kafka_security.{region}")
            if region in own
            else connection_to(servers, self.kafka_security)
            for region, servers in self.remote_kafka.items()
        }

    def providers_here(self) -> ProviderSettings:
        """`providers` with Twilio's reports to this region's role `webhooks`, unless another address is set."""
        url = self.public.urls.get(self.region)
        if url is None or self.providers.twilio_status_callback is not None:
            return self.providers
        callback = f"{url.rstrip('/')}/webhooks/twilio#{_TWILIO_REPEATS}"
        return msgspec.structs.replace(self.providers, twilio_status_callback=callback)

    def event_systems(self) -> frozenset[str]:
        """The upstream systems with a topic `notification_events.<system>`."""
        return frozenset(one for one in self.trigger_systems if self.notification_events.get(one, True))

    def shard_of(self, bucket: int) -> int:
        """The index in `shards` of the shard that holds `bucket`."""
        return self.bucket_shards.get(bucket, bucket % len(self.shards))


def load_settings(
    region: str,
    *,
    environ: Mapping[str, str] | None = None,
    config_dir: Path | None = None,
    overlay: Path | None = None,
) -> Settings:
    """The settings of `region`, from the five layers.

    Raises:
        SettingsError: names the file or variable, the key and the problem.
    """
    environ = os.environ if environ is None else environ
    config_dir = config_dir or config_folder(environ)
    file = config_dir / f"{region}.yaml"
    if not file.is_file():
        known = ", ".join(regions_of(config_dir))
        raise SettingsError(
            f"{file} does not exist; use a region that has a file ({known or 'none'}) or set NOTIFY_CONFIG_DIR"
        )
    merged: dict[str, Any] = {"region": region}
    merge(merged, read_layer(file), deep=False)
    if overlay is not None:
        merge(merged, read_layer(overlay), deep=False)  # the stack of one region has no Kafka of others
    if secrets := environ.get("NOTIFY_SECRETS_DIR"):
        merge(merged, secrets_layer(Path(secrets), Settings), deep=True)
    merge(merged, environ_layer(environ, Settings), deep=True)
    problems: list[str] = []
    values = read_value_files(merged, Settings, "", problems)
    settings = _converted(values, problems)
    if settings is not None:
        if settings.region != region:
            problems.append(f"region is {settings.region!r}; it must be {region!r}, as in the name of the file")
        problems += _problems(settings)
    if settings is None or problems:
        source = f"settings of region {region!r} ({file}, {PREFIX}… variables)"
        raise SettingsError(
            f"{source}:" + (f" {problems[0]}" if len(problems) == 1 else "\n  " + "\n  ".join(problems))
        )
    return _without_credentials_in_uris(settings)


def _converted(values: dict[str, Any], problems: list[str]) -> Settings | None:
    """The settings that have a valid type, unless one is missing that has no default. What is wrong is added to `problems`."""
    fields = {field.name: field for field in msgspec.structs.fields(Settings)}
    wrong = [f"{name}: there is no such setting" for name in values if name not in fields]
    wrong += [f"{name} is missing" for name, field in fields.items() if field.required and name not in values]
    valid: dict[str, Any] = {}
    for name in values.keys() & fields:
        try:
            valid[name] = msgspec.convert(values[name], fields[name].type, strict=False, dec_hook=_secret)
        except msgspec.ValidationError as error:
            problem = problem_of(error, fields[name].type).inside(name)
            wrong.append(f"{problem.path} {problem.words}")
    problems += sorted(wrong)
    if any(field.required and name not in valid for name, field in fields.items()):
        return None
    return Settings(**valid)


def _secret(kind: type[Any], value: object) -> Any:
    if kind is Secret and isinstance(value, Secret):
        return value
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise TypeError(f"Expected `str`, got `{type(value).__name__}`")


def _problems(settings: Settings) -> Iterator[str]:
    yield from _address_problems(settings)
    yield from _security_problems(settings)
    yield from (f"public.{problem}" for problem in settings.public.problems(settings.regions))
    yield from (f"retention.{problem}" for problem in settings.retention.problems())
    yield from (f"tracing.{problem}" for problem in settings.tracing.problems())
    for key, names in (("regions", settings.regions), ("trigger_systems", settings.trigger_systems)):
        if not names or len(set(names)) < len(names) or not all(map(_NAME.fullmatch, names)):
            yield f"{key} must be a list of distinct names of letters, digits, dots, hyphens and underscores"
    if "forwarded" in settings.trigger_systems:
        yield "trigger_systems: 'forwarded' is reserved for the topic triggers.forwarded; choose another name"
    for system in settings.notification_events.keys() - set(settings.trigger_systems):
        yield f"notification_events.{system}: there is no such system in trigger_systems"
    if settings.region not in settings.regions:
        yield f"region {settings.region!r} is not among regions {', '.join(settings.regions)}"
    if settings.standby is not None and settings.standby not in settings.regions:
        yield f"standby {settings.standby!r} is not among regions {', '.join(settings.regions)}"
    if settings.standby == settings.region and len(settings.regions) > 1:
        yield f"standby must be another region than {settings.region!r}, whose users it serves while this one is away"
    if settings.region in settings.remote_kafka:
        yield f"remote_kafka.{settings.region}: it is this region, whose Kafka is `kafka`; remove it"
    if len(settings.regions) > _MAX_REGIONS:
        yield f"regions has {len(settings.regions)} names; at most {_MAX_REGIONS} are possible"
    for region in settings.remote_kafka.keys() - set(settings.regions):
        yield f"remote_kafka.{region}: it is not among regions {', '.join(settings.regions)}"
    if not _DATABASE.fullmatch(settings.database):
        yield "database must have 1 to 63 characters of A-Z a-z 0-9 _ -"
    if settings.database in _NO_TRANSACTIONS:
        yield f"database must not be {settings.database!r}: MongoDB has no transactions there"
    points = [pop.name for pop in settings.edge]
    if len(set(points)) < len(points) or not all(map(_NAME.fullmatch, points)):
        yield "edge must be a list with distinct names of letters, digits, dots, hyphens and underscores: edge.<name> is a topic"
    for pop in settings.edge:
        if pop.kind not in _EDGE_KINDS:
            yield f"edge.{pop.name}.kind must be one of {', '.join(_EDGE_KINDS)}"
    if settings.web_port_base + len(ROLES) - 1 > MAX_PORT:
        yield f"web_port_base must be at most {MAX_PORT + 1 - len(ROLES)}: each role has a port of its own"
    preferences = settings.preferences
    if preferences.cache_ttl_s >= 0.75 * preferences.delta_ttl_s:
        yield "preferences.cache_ttl_s must be below three quarters of preferences.delta_ttl_s"
    buckets, shards = settings.partitions, len(settings.shards)
    for bucket, shard in settings.bucket_shards.items():
        if not (0 <= bucket < buckets and 0 <= shard < shards):
            yield f"bucket_shards: {bucket}: {shard}: there are {buckets} buckets and {shards} shards"
    if settings.tables.store == "disk" and buckets > MAX_DISK_PARTITIONS:
        yield f"tables.store must be memory: tables on disk have at most {MAX_DISK_PARTITIONS} partitions, there are {buckets}"
    if settings.max_trigger_bytes + _ADDED_BYTES > settings.max_record_bytes:
        yield (
            f"max_trigger_bytes must be at least {_ADDED_BYTES} below max_record_bytes, or a trigger could not be forwarded"
        )
    tokens = {name: getattr(settings, name) for name in ("web_read_token", "web_write_token", "web_edge_token")}
    given = {name: token for name, token in tokens.items() if token is not None}
    for name, token in given.items():
        if not _TOKEN.fullmatch(token.reveal()):
            yield (
                f"{name} must have at least 16 characters of A-Z a-z 0-9 - . _ ~ + / ="
                ": create one with `openssl rand -hex 32`"
            )
    if len(set(given.values())) < len(given):
        yield f"{', '.join(given)} must differ: each gives one right"
    if settings.web_advertised_host is not None and not addresses.HOST.accepts(settings.web_advertised_host):
        yield f"web_advertised_host must be {addresses.HOST.describe}"
    broker = settings.broker
    if broker.heartbeat_s * 3 > broker.session_timeout_s:
        yield "broker.heartbeat_s must be at most a third of broker.session_timeout_s"
    if broker.heartbeat_s * 3 > broker.static_session_timeout_s:
        yield "broker.heartbeat_s must be at most a third of broker.static_session_timeout_s"
    if broker.rebalance_timeout_s <= _DRAIN_S:
        yield f"broker.rebalance_timeout_s must be more than {_DRAIN_S:g}: a worker takes so long to finish what it has"
    if broker.instance is not None and not _INSTANCE.fullmatch(broker.instance):
        yield "broker.instance must have at most 249 characters of A-Z a-z 0-9 . _ -: take the pod's name"
    if broker.critical_heartbeat_s * 3 > broker.critical_session_timeout_s:
        yield "broker.critical_heartbeat_s must be at most a third of broker.critical_session_timeout_s"


def _address_problems(settings: Settings) -> Iterator[str]:
    providers = settings.providers
    given: list[tuple[str, str | None, AddressForm]] = [
        ("kafka", settings.kafka, addresses.KAFKA),
        *((f"remote_kafka.{region}", servers, addresses.KAFKA) for region, servers in settings.remote_kafka.items()),
        *((f"shards[{number}]", uri, addresses.MONGODB) for number, uri in enumerate(settings.shards)),
        ("redis", settings.redis, addresses.REDIS),
        ("dynamodb", settings.dynamodb, addresses.HTTP),
        *((f"edge.{pop.name}.url", pop.url, addresses.HTTP) for pop in settings.edge),
        *(
            (f"providers.{name}", getattr(providers, name), addresses.HTTP)
            for name in ("fcm", "apns", "twilio", "aws_endpoint")
        ),
        ("providers.smtp", providers.smtp, addresses.SMTP),
        ("providers.twilio_status_callback", providers.twilio_status_callback, addresses.CALLBACK),
    ]
    for name, address, form in given:
        if address is not None and not form.accepts(address):
            yield f"{name} must be {form.describe}"


def _security_problems(settings: Settings) -> Iterator[str]:
    mongo, redis = settings.mongo_security, settings.redis_security
    groups: dict[str, KafkaSecurity | MongoSecurity | RedisSecurity]
    groups = {"kafka_security": settings.kafka_security, "mongo_security": mongo, "redis_security": redis}
    groups |= {f"remote_kafka_security.{region}": one for region, one in settings.remote_kafka_security.items()}
    for name, group in groups.items():
        yield from (f"{name}.{problem}" for problem in group.problems())
    yield from (f"providers.{problem}" for problem in settings.providers.failover_problems())
    yield from (f"providers.{problem}" for problem in settings.providers.rate_problems())
    yield from (f"providers.{problem}" for problem in settings.providers.mail_signature_problems())
    yield from (f"providers.{problem}" for problem in settings.providers.credential_problems())
    yield from (f"providers.{problem}" for problem in settings.providers.aws_problems())
    yield from (f"providers.{problem}" for problem in settings.providers.problems_of_more_credentials())
    # Its own is no error: a command in another region's pod reads these settings with the Secrets of that one.
    for region in settings.remote_kafka_security.keys() - settings.remote_kafka - {settings.region}:
        yield f"remote_kafka_security.{region}: there is no remote_kafka.{region}"
    if redis.tls is not None and not settings.redis.startswith("rediss"):
        yield "redis_security.tls is set, but redis is not a rediss:// address, or rediss+sentinel://"
    if redis.sentinel_password is not None and "+sentinel:" not in settings.redis:
        yield "redis_security.sentinel_password is set, but redis is not an address of sentinels"
    if len({split_credentials(uri)[0] for uri in settings.shards}) < len(settings.shards):
        yield "shards has one address twice: what is there would be counted twice"
    of_shards = {split_credentials(uri)[1] for uri in settings.shards}
    if len(of_shards) > 1:
        yield "shards must all have the same user name and password"
    for name, group, in_uri in (
        ("mongo_security", mongo, of_shards),
        ("redis_security", redis, {split_credentials(settings.redis)[1]}),
    ):
        if (group.username or group.password) and in_uri != {Credentials()}:
            yield f"{name} and the URI both have a user name or password: remove one of them"


def _without_credentials_in_uris(settings: Settings) -> Settings:
    """The same with the credentials of the URIs moved to `mongo_security` and `redis_security`: a URI can be shown."""
    shards, of_shards = zip(*map(split_credentials, settings.shards), strict=True)
    redis, of_redis = split_credentials(settings.redis)
    mongo_security, redis_security = settings.mongo_security, settings.redis_security
    if of_shards[0] != Credentials():
        mongo_security = msgspec.structs.replace(
            mongo_security, username=of_shards[0].username, password=of_shards[0].password
        )
    if of_redis != Credentials():
        redis_security = msgspec.structs.replace(redis_security, username=of_redis.username, password=of_redis.password)
    return msgspec.structs.replace(
        settings, shards=shards, redis=redis, mongo_security=mongo_security, redis_security=redis_security
    )
