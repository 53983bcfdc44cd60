"""The layers of the settings, and the errors of invalid ones."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from devtools.stack.paths import PROJECT
from notify_streams.errors import SettingsError
from notify_streams.regions.locations import MAX_REGIONS
from notify_streams.settings import Settings, load_settings
from notify_streams.transport import TransportSettings

Load = Callable[..., Settings]

USUAL = {
    "region": "us",
    "regions": ["us", "eu"],
    "kafka": "kafka:9092",
    "shards": ["mongodb://one", "mongodb://two"],
    "redis": "redis://r",
    "partitions": 8,
}


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads region us from a file with these keys; `...` omits a key."""

    def loaded(
        environ: dict[str, str] | None = None, overlay: dict[str, Any] | None = None, **but: dict[str, Any]
    ) -> Settings:
        keys = {name: value for name, value in (USUAL | but).items() if value is not ...}
        (tmp_path / "us.yaml").write_text(yaml.safe_dump(keys))
        file = None
        if overlay is not None:
            file = tmp_path / "overlay.yaml"
            file.write_text(yaml.safe_dump(overlay))
        return load_settings("us", environ=environ or {}, config_dir=tmp_path, overlay=file)

    return loaded


@pytest.mark.parametrize("region", ["us", "eu", "asia"])
def test_each_region_of_the_repository_can_be_loaded(region: str) -> None:
    found = load_settings(region, environ={}, config_dir=PROJECT / "config")
    assert found.region == region and len(found.shards) == 2


def test_defaults(load: Load) -> None:
    found = load()
    assert (found.database, found.preferences.cache_ttl_s, found.broker.session_timeout_s) == ("notify", 60.0, 6.0)
    assert found.web_read_token is None


def test_later_layers_win(load: Load) -> None:
    overlay = {"kafka": "overlay:1", "redis": "redis://overlay"}
    found = load({"NOTIFY_REDIS": "redis://environ"}, overlay, database="file")
    assert (found.database, found.kafka, found.redis) == ("file", "overlay:1", "redis://environ")


def test_an_overlay_replaces_a_key_as_a_whole(load: Load) -> None:
    found = load(overlay={"remote_kafka": {"eu": "here:1"}}, remote_kafka={"eu": "there:1", "asia": "there:2"})
    assert found.remote_kafka == {"eu": "here:1"}


ENVIRON = [
    pytest.param(
        "NOTIFY_BROKER__SESSION_TIMEOUT_S", "9", lambda found: found.broker.session_timeout_s, 9.0, id="nested"
    ),
    pytest.param("NOTIFY_PARTITIONS", "16", lambda found: found.partitions, 16, id="number"),
    pytest.param("NOTIFY_SHARDS", "[mongodb://a]", lambda found: found.shards, ("mongodb://a",), id="list"),
    pytest.param("NOTIFY_BUCKET_SHARDS", "{3: 0}", lambda found: found.bucket_shards, {3: 0}, id="map"),
    pytest.param("NOTIFY_BUCKET_SHARDS__3", "0", lambda found: found.bucket_shards, {3: 0}, id="one key of a map"),
    pytest.param("NOTIFY_REMOTE_KAFKA__EU", "e:1", lambda found: found.remote_kafka, {"eu": "e:1"}, id="one address"),
    pytest.param("NOTIFY_REGIONS", "[us, mars]", lambda found: found.regions, ("us", "mars"), id="regions"),
    pytest.param("NOTIFY_BROKER", "{batch_records: 5}", lambda found: found.broker.batch_records, 5, id="a group"),
    pytest.param("NOTIFY_REMOTE_KAFKA__EU", "1:2", lambda found: found.remote_kafka, {"eu": "1:2"}, id="no number"),
    pytest.param("NOTIFY_DYNAMODB", "", lambda found: found.dynamodb, None, id="empty: none"),
]


@pytest.mark.parametrize(("name", "text", "of", "expected"), ENVIRON)
def test_a_variable_sets_one_key(
    load: Load, name: str, text: str, of: Callable[[Settings], object], expected: object
) -> None:
    assert of(load({name: text})) == expected


def test_a_variable_empties_a_group(load: Load) -> None:
    """`regions.failover` reads from it that there is no other region."""
    assert load({"NOTIFY_REMOTE_KAFKA": "{}"}, remote_kafka={"eu": "there:1"}).remote_kafka == {}


@pytest.mark.parametrize(
    "token",
    [
        "plain",
        "12345",
        "1_000",
        "yes",
        "null",
        "#1",
        "a #b",
        "@x",
        "*x",
        "&x",
        "!x",
        "%x",
        "2026-13-45",
        "a: b",
        "[",
        '"',
        "ü",
    ],
)
def test_a_string_is_not_parsed(load: Load, token: str) -> None:
    """YAML would change each of them; `#1` would be no text at all."""
    assert load({"NOTIFY_USERS_TABLE": token}).users_table == token


def test_a_group_and_one_of_its_keys_can_both_be_set(load: Load) -> None:
    found = load({"NOTIFY_BROKER__BATCH_RECORDS": "7", "NOTIFY_BROKER": "{batch_records: 5, batch_bytes: 6}"})
    assert (found.broker.batch_records, found.broker.batch_bytes) == (7, 6)


def test_other_variables_are_ignored(load: Load) -> None:
    environ = dict.fromkeys(
        [
            "NOTIFY_ROLE",
            "NOTIFY_REGION",
            "NOTIFY_STACK_DIR",
            "NOTIFY_STACK_PORTS",
            "NOTIFY_TEST_STACK",
            "NOTIFY_FAILPOINTS",
            "NOTIFY_SOCKET",
            "HOME",
        ],
        "x",
    )
    assert load(environ) == load()


WRONG_ENVIRON = [
    pytest.param({"NOTIFY_COLOUR": "red"}, "colour", id="an unknown key"),
    pytest.param({"NOTIFY_BROKER__COLOUR": "red"}, "colour", id="an unknown key in a group"),
    pytest.param({"NOTIFY_KAFKA__COLOUR": "red"}, "kafka", id="a key of what has none"),
    pytest.param({"NOTIFY_PARTITIONS": "many"}, "partitions", id="a text for a number"),
    pytest.param({"NOTIFY_PARTITIONS": "0"}, "partitions", id="no partition"),
    pytest.param({"NOTIFY_PARTITIONS": ""}, "partitions", id="an empty number"),
    pytest.param({"NOTIFY_SHARDS": "[]"}, "shards", id="no shard"),
    pytest.param({"NOTIFY_SHARDS": "mongodb://a"}, "shards", id="one for a list"),
    pytest.param({"NOTIFY_SHARDS": "[mongodb://u:secret@a"}, "NOTIFY_SHARDS is not YAML", id="a list without an end"),
    pytest.param({"NOTIFY_PARTITIONS": "2026-13-45"}, "NOTIFY_PARTITIONS is not YAML", id="a date that there is not"),
    pytest.param({"NOTIFY_BROKER": "5", "NOTIFY_BROKER__BATCH_RECORDS": "7"}, "broker", id="a group that is none"),
    pytest.param({"NOTIFY_KAFKA": ""}, "kafka", id="an address that is empty"),
    pytest.param({"NOTIFY_BROKER": "{batch_bytes: 1, batch_bytes: 2}"}, "NOTIFY_BROKER", id="a key twice"),
    pytest.param({"NOTIFY_BROKER": "{1: 2}"}, "broker has a name that must be text", id="a number for a key"),
]


@pytest.mark.parametrize(("environ", "says"), WRONG_ENVIRON)
def test_an_invalid_variable(load: Load, environ: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(environ)
    assert says in str(error.value) and "secret" not in str(error.value) and len(str(error.value)) < 300


WRONG = [
    pytest.param({"kafka": ...}, "kafka", id="no Kafka"),
    pytest.param({"colour": "red"}, "colour", id="an unknown key"),
    pytest.param({"broker": {"colour": "red"}}, "colour", id="an unknown key in a group"),
    pytest.param({"region": "eu"}, "region is .eu.", id="another region's file"),
    pytest.param({"regions": ["eu"]}, "not among regions", id="a region that is not in the list"),
    pytest.param({"regions": ["us", "us"]}, "regions", id="a region twice"),
    pytest.param({"regions": ["us", "e:u"]}, "regions", id="a region with a colon"),
    pytest.param({"standby": "mars"}, "mars", id="a standby that there is not"),
    pytest.param({"trigger_systems": ["a", "a"]}, "trigger_systems", id="a system twice"),
    pytest.param({"trigger_systems": []}, "trigger_systems", id="no system"),
    pytest.param({"notification_events": {"b": False}}, "notification_events.b", id="events of no system"),
    pytest.param({"trigger_systems": ["a b"]}, "trigger_systems", id="a system with a space"),
    pytest.param({"trigger_systems": ["forwarded"]}, "forwarded", id="a system of a name that is taken"),
    pytest.param({"bucket_shards": {8: 0}}, "bucket_shards", id="a bucket that there is not"),
    pytest.param({"bucket_shards": {3: 2}}, "bucket_shards", id="a shard that there is not"),
    pytest.param({"max_trigger_bytes": 2_097_152}, "max_trigger_bytes", id="triggers as large as records"),
    pytest.param({"max_trigger_bytes": 2_097_000}, "max_trigger_bytes", id="triggers that could not be handed on"),
    pytest.param({"broker": {"heartbeat_s": 3}}, "heartbeat_s", id="a slow heartbeat"),
    pytest.param({"broker": {"critical_heartbeat_s": 1}}, "critical_heartbeat_s", id="a slow critical heartbeat"),
    pytest.param({"broker": {"session_timeout_s": -1}}, "session_timeout_s", id="a negative time"),
    pytest.param({"broker": {"static_session_timeout_s": 4}}, "static_session_timeout_s", id="a short static session"),
    pytest.param({"broker": {"instance": "a b"}}, "broker.instance", id="a member name with a space"),
    # Each of these was accepted, and failed later or was no limit.
    pytest.param({"providers": {"calls_per_s": {"pushh": 3}}}, "calls_per_s.pushh", id="a limit of no role"),
    pytest.param(
        {"providers": {"failover_calls_per_s": {"all": 3}}}, "failover_calls_per_s.all", id="the same, failover"
    ),
    pytest.param(
        {"providers": {"push_calls_per_s": {"apns": {"puhs": 3}}}},
        "push_calls_per_s.apns.puhs",
        id="the same, by provider",
    ),
    pytest.param(
        {"providers": {"more_credentials": [{"provider": "smtp", "calls_per_s": {"mail": 3}}]}},
        r"more_credentials\[0\].calls_per_s.mail",
        id="the same, of a credential",
    ),
    pytest.param({"remote_kafka": {"mars": "k:9092"}}, "remote_kafka.mars", id="the Kafka of no region"),
    pytest.param({"database": "a.b"}, "database must", id="a database that MongoDB refuses"),
    pytest.param({"database": "admin"}, "no transactions there", id="a database without transactions"),
    pytest.param({"edge": [{"name": "a", "url": "http://a", "kind": "akamai"}]}, "edge.a.kind", id="an unknown edge"),
    pytest.param({"web_port_base": 70_000}, "web_port_base", id="a port that there is not"),
    pytest.param({"web_port_base": 65_530}, "web_port_base must be at most", id="no port for the last role"),
    pytest.param({"web_port": 65_536}, "web_port", id="a port above the last"),
    pytest.param(
        {"preferences": {"delta_ttl_s": 60}}, "preferences.cache_ttl_s", id="a cache that outlives the deltas"
    ),
    pytest.param({"user_wait_s": math.inf}, "user_wait_s", id="a wait without an end"),
    pytest.param(
        {"outbox": {"transaction_timeout_s": math.inf}}, "transaction_timeout_s", id="a time-out without an end"
    ),
    pytest.param(
        {"broker": {"request_timeout_s": 1e9}}, "request_timeout_s", id="a time-out that Kafka cannot express"
    ),
    pytest.param({"retention": {"notifications_h": math.inf}}, "notifications_h", id="a retention without an end"),
    pytest.param({"reputation": {"window_h": 10**9}}, "window_h", id="a window before all dates"),
    pytest.param({"retention": {"period_s": 10**16}}, "period_s", id="a period beyond all dates"),
    pytest.param({"providers": {"retry_pace": math.inf}}, "retry_pace", id="retries that never come"),
    pytest.param({"tracing": {"timeout_s": math.inf}}, "tracing.timeout_s", id="tracing without a time-out"),
    pytest.param({"partitions": 2**20 + 1}, "partitions must be at most", id="buckets that fit into no row"),
    pytest.param({"replication": 70_000}, "replication", id="replicas that Kafka cannot express"),
    pytest.param({"max_record_bytes": 2**31}, "max_record_bytes", id="records that Kafka cannot express"),
    pytest.param({"broker": {"fetch_max_wait_ms": 2**31}}, "fetch_max_wait_ms", id="a wait that Kafka cannot express"),
    pytest.param({"tables": {"max_bytes": 2**63}}, "tables.max_bytes", id="a file that nothing can express"),
    pytest.param(
        {"broker": {"rebalance_timeout_s": 5}}, "rebalance_timeout_s", id="a rebalance without time to finish"
    ),
    pytest.param(
        {"outbox": {"transaction_timeout_s": 0.0009}},
        "transaction_timeout_s must be",
        id="a time-out of 0 ms, which is none",
    ),
    pytest.param({"outbox": {"sweep_every_s": 1e-9}}, "sweep_every_s must be", id="looks without a pause"),
    pytest.param({"reconcile_every_s": 1e-9}, "reconcile_every_s must be", id="comparisons without a pause"),
    pytest.param({"preferences": {"bound_s": 0.001}}, "bound_s must be", id="a check that is too old at once"),
    pytest.param({"providers": {"retry_pace": 1e-9}}, "retry_pace must be", id="retries without a pause"),
    pytest.param(
        {"tables": {"store": "disk"}, "partitions": 4097},
        "tables.store must be memory",
        id="more tables than a file has",
    ),
    pytest.param({"regions": ["us", *map(str, range(63))]}, "at most 63", id="more regions than a row can name"),
    pytest.param({"standby": "us"}, "standby must be another", id="a region that stands by for itself"),
    pytest.param({"remote_kafka": {"us": "k:9092"}}, "remote_kafka.us", id="this region as another one"),
    pytest.param({"shards": ["mongodb://a/", "mongodb://u:p@a/"]}, "shards has one address twice", id="a shard twice"),
    pytest.param({"edge": [{"name": "a/b", "url": "http://a"}]}, "edge must be", id="an edge that is no topic"),
    pytest.param(
        {"edge": [{"name": "a", "url": "http://a"}, {"name": "a", "url": "http://b"}]},
        "edge must be",
        id="an edge twice",
    ),
]


@pytest.mark.parametrize(("but", "says"), WRONG)
def test_an_invalid_file(load: Load, but: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load(**but)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[1]", "YAML mapping"),
        (b"", "YAML mapping"),
        (b"a: [secret", "line 1"),
        (b"\xff", "UTF-8"),
        (b"a: 2026-13-45", "YAML"),
        (b"1: red", "1: there is no such setting"),
        (b"kafka: a:1\nredis: r\nkafka: b:1", "a name is there twice, first in line 1 and again in line 3"),
        (b"broker: {batch_bytes: 1, batch_bytes: 2}", "twice"),
        (b"providers: &all\n  calls_per_s: *all", "contains itself"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "us.yaml").write_bytes(content)
    with pytest.raises(SettingsError, match=says) as error:
        load_settings("us", environ={}, config_dir=tmp_path)
    assert "us.yaml" in str(error.value) and "secret" not in str(error.value)


def test_the_bounds_are_those_of_the_parts(load: Load) -> None:
    regions = ["us", *map(str, range(MAX_REGIONS - 1))]
    drain_s = TransportSettings().drain_timeout_s
    found = load(regions=regions, broker={"rebalance_timeout_s": drain_s + 0.1})
    assert len(found.regions) == MAX_REGIONS and found.broker.rebalance_timeout_s > drain_s
    with pytest.raises(SettingsError, match="regions"):
        load(regions=[*regions, "one-more"])
    with pytest.raises(SettingsError, match="rebalance_timeout_s"):
        load(broker={"rebalance_timeout_s": drain_s})


def test_a_variable_adds_to_a_map_of_numbers(load: Load) -> None:
    assert load({"NOTIFY_BUCKET_SHARDS": "{4: 0}"}, bucket_shards={3: 0}).bucket_shards == {3: 0, 4: 0}


def test_a_merged_mapping_may_be_overridden(tmp_path: Path) -> None:
    """YAML's own way to give a name twice."""
    (tmp_path / "us.yaml").write_text(
        yaml.safe_dump(USUAL | {"partitions": 8}) + "broker: {<<: {batch_bytes: 5, batch_records: 6}, batch_bytes: 7}"
    )
    broker = load_settings("us", environ={}, config_dir=tmp_path).broker
    assert (broker.batch_bytes, broker.batch_records) == (7, 6)


def test_a_region_without_a_file(tmp_path: Path) -> None:
    (tmp_path / "eu.yaml").write_text("")
    (tmp_path / "categories.yaml").write_text("")
    with pytest.raises(SettingsError, match=r"has a file \(eu\)"):
        load_settings("us", environ={}, config_dir=tmp_path)


def test_the_directory_can_be_set(tmp_path: Path) -> None:
    (tmp_path / "us.yaml").write_text(yaml.safe_dump(USUAL))
    assert load_settings("us", environ={"NOTIFY_CONFIG_DIR": str(tmp_path)}).kafka == "kafka:9092"


def test_settings_cannot_be_changed(load: Load) -> None:
    with pytest.raises(AttributeError):
        setattr(load(), "kafka", "x")  # noqa: B010


def test_each_bucket_is_on_one_shard(load: Load) -> None:
    found = load(bucket_shards={3: 0})
    assert [found.shard_of(bucket) for bucket in range(8)] == [0, 1, 0, 0, 0, 1, 0, 1]


def test_every_setting_has_a_type_that_can_be_read() -> None:
    assert all(field.type is not None for field in msgspec.structs.fields(Settings))


GOOD = "a-token-of-16-characters"


@pytest.mark.parametrize("name", ["WEB_READ_TOKEN", "WEB_WRITE_TOKEN", "WEB_EDGE_TOKEN"])
@pytest.mark.parametrize(
    "token", ["a", "fifteen-letters", "with space in it", "with\ta-tab-in-the-middle", "ü" * 16, '"' * 16]
)
def test_a_token_that_is_short_or_not_one_of_a_header_is_refused_without_showing_it(
    load: Load, name: str, token: str
) -> None:
    with pytest.raises(SettingsError, match="at least 16") as refused:
        load({f"NOTIFY_{name}": token})
    assert name.lower() in str(refused.value)
    assert len(token) < 5 or token not in str(refused.value)
    assert load({f"NOTIFY_{name}": GOOD})


def test_one_token_cannot_give_two_rights(load: Load) -> None:
    with pytest.raises(SettingsError, match="differ"):
        load({"NOTIFY_WEB_READ_TOKEN": GOOD, "NOTIFY_WEB_EDGE_TOKEN": GOOD})
    assert load({"NOTIFY_WEB_READ_TOKEN": GOOD, "NOTIFY_WEB_EDGE_TOKEN": f"{GOOD}2"})


@pytest.mark.parametrize("host", ["host:6066/", "http://host", "a b", "[::1]", "notify..svc", "a" * 64, "host:6066"])
def test_an_advertised_host_is_a_name_or_an_address(load: Load, host: str) -> None:
    with pytest.raises(SettingsError, match="web_advertised_host"):
        load({"NOTIFY_WEB_ADVERTISED_HOST": host})


@pytest.mark.parametrize("host", ["10.0.0.7", "fd00::7", "::1", "worker-3.workers"])
def test_pods_advertise_their_address(load: Load, host: str) -> None:
    assert load({"NOTIFY_WEB_ADVERTISED_HOST": host}).web_advertised_host == host
