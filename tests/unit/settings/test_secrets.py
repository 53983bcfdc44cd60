"""Secrets come as values or files, and are never shown."""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from notify_streams.errors import SettingsError
from notify_streams.secret import Secret
from notify_streams.settings import Settings, load_settings

Load = Callable[..., Settings]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads region us from a file with these keys, in a folder where `secret` holds a token."""
    (tmp_path / "secret").write_text("  t0k#n: \n\n")

    def loaded(environ: dict[str, str] | None = None, overlay: dict[str, Any] | None = None, **but: Any) -> Settings:
        usual = {"kafka": "kafka:9092", "shards": ["mongodb://one"], "redis": "redis://r"}
        (tmp_path / "us.yaml").write_text(yaml.safe_dump(usual | but))
        (tmp_path / "overlay.yaml").write_text(yaml.safe_dump(overlay or {}))
        return load_settings("us", environ=environ or {}, config_dir=tmp_path, overlay=tmp_path / "overlay.yaml")

    return loaded


TOKEN = Secret("  t0k#n: \n")


def test_a_file_holds_a_setting_and_its_last_newline_is_ignored(load: Load, tmp_path: Path) -> None:
    file = str(tmp_path / "secret")
    assert load(users_table_file=file).users_table == TOKEN.reveal()
    assert load({"NOTIFY_USERS_TABLE_FILE": file}).users_table == TOKEN.reveal()
    assert load({"NOTIFY_REDIS_SECURITY__PASSWORD_FILE": file}).redis_security.password == TOKEN
    assert load(edge=[{"name": "a", "url": "http://a", "token_file": file}]).edge[0].token == TOKEN


def test_a_file_of_a_list_is_yaml(load: Load, tmp_path: Path) -> None:
    (tmp_path / "shards").write_text("[mongodb://a, mongodb://b]\n")
    assert load({"NOTIFY_SHARDS_FILE": str(tmp_path / "shards")}).shards == ("mongodb://a", "mongodb://b")


def test_a_later_layer_replaces_the_value_by_a_file_and_the_file_by_a_value(load: Load, tmp_path: Path) -> None:
    file = str(tmp_path / "secret")
    assert load({"NOTIFY_USERS_TABLE_FILE": file}, users_table="other").users_table == TOKEN.reveal()
    assert load(overlay={"users_table_file": file}, users_table="other").users_table == TOKEN.reveal()
    assert load({"NOTIFY_USERS_TABLE": "other"}, users_table_file="/no/such").users_table == "other"


def test_a_value_and_a_file_in_one_layer_are_an_error(load: Load, tmp_path: Path) -> None:
    file = str(tmp_path / "secret")
    for environ, but in (
        ({"NOTIFY_WEB_READ_TOKEN_FILE": file, "NOTIFY_WEB_READ_TOKEN": "x"}, {}),
        ({}, {"web_read_token": "x", "web_read_token_file": file}),
    ):
        with pytest.raises(SettingsError, match="web_read_token and web_read_token_file are both set"):
            load(environ, **but)


@pytest.mark.parametrize("name", ["no-such-file", "."])
def test_a_file_that_cannot_be_read_is_named(load: Load, tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=r"web_read_token_file: .* cannot be read: (No such file|Is a directory)"):
        load(web_read_token_file=str(tmp_path / name))


def test_an_unknown_setting_has_no_file(load: Load, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="colour_file: there is no such setting"):
        load(colour_file=str(tmp_path / "secret"))


def test_credentials_of_a_uri_move_to_the_masked_settings(load: Load) -> None:
    found = load(
        redis="rediss://app:p%2Fw%3A@r:6379/1",
        shards=["mongodb://u:s%40crt@a,b/db?replicaSet=x", "mongodb://u:s%40crt@c"],
    )
    assert (found.redis, found.shards) == ("rediss://r:6379/1", ("mongodb://a,b/db?replicaSet=x", "mongodb://c"))
    assert (found.redis_security.username, found.redis_security.password) == ("app", Secret("p/w:"))
    assert (found.mongo_security.username, found.mongo_security.password) == ("u", Secret("s@crt"))
    assert "crt" not in repr(found) and "p/w" not in repr(found)


WRONG_CREDENTIALS = {
    "in the URI and apart": (
        {"redis": "redis://:a@r", "redis_security": {"password": "b"}},
        "redis_security and the URI",
    ),
    "of two users": ({"shards": ["mongodb://u:a@s", "mongodb://v:a@t"]}, "same user name and password"),
    "without a password": ({"redis_security": {"username": "u"}}, "redis_security.password must be set"),
    "sentinels' password without sentinels": (
        {"redis_security": {"sentinel_password": "q"}},
        "is not an address of sent",
    ),
    "sentinels' user without password": (
        {"redis_security": {"sentinel_username": "u"}},
        "sentinel_password must be set",
    ),
    "TLS for a plain address": ({"redis_security": {"tls": {}}}, "not a rediss:// address"),
    "no mechanism": ({"kafka_security": {"protocol": "SASL_SSL"}}, "kafka_security.mechanism must be set"),
    "no SASL": ({"kafka_security": {"mechanism": "PLAIN"}}, "mechanism must not be set with protocol PLAINTEXT"),
    "no password": (
        {"kafka_security": {"protocol": "SASL_SSL", "mechanism": "PLAIN", "username": "u"}},
        "kafka_security.password must be set with PLAIN",
    ),
    "no OAuth": (
        {"kafka_security": {"protocol": "SASL_SSL", "mechanism": "OAUTHBEARER"}},
        "kafka_security.oauth must be set with OAUTHBEARER",
    ),
    "a token in plain text": (
        {
            "kafka_security": {
                "protocol": "SASL_SSL",
                "mechanism": "OAUTHBEARER",
                "oauth": {"token_url": "http://o", "client_id": "c", "client_secret": "s"},
            }
        },
        "oauth.token_url must be https",
    ),
    "another region": ({"remote_kafka_security": {"eu": {}}}, "there is no remote_kafka.eu"),
    "no CA": (
        {"kafka_security": {"protocol": "SSL", "tls": {"ca_file": "/no/such"}}},
        r"kafka_security.tls.ca_file: /no/such has no certificates that can be read: no such file",
    ),
    "a key without certificate": ({"mongo_security": {"tls": {"key_file": "/k"}}}, "mongo_security.tls.key_file"),
    "X.509 without certificate": (
        {"mongo_security": {"mechanism": "MONGODB-X509"}},
        "tls.certificate_file must be set",
    ),
}


@pytest.mark.parametrize(("but", "says"), WRONG_CREDENTIALS.values(), ids=WRONG_CREDENTIALS)
def test_credentials_that_cannot_work(load: Load, but: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load(**but)


NOT_ADDRESSES: dict[str, list[Any]] = {
    "kafka": [
        "kafka",
        "kafka:",
        "kafka:0",
        "kafka:65536",
        "http://k:1",
        "u:pw@k:1",
        "k:1,",
        "k 1:2",
        ":9092",
        "none",
        "a..b:1",
        "a.:1",
        f"{'a' * 64}:1",
    ],
    "redis": [
        "r",
        "redis://",
        "http://r",
        "redis://:p/w@r",
        "redis://:p@w@r",
        "redis://u@r",
        "redis://r:x",
        "redis://r?a=b",
        "redis+sentinel://s:26379",
        "redis+sentinel://s:26379/main/x",
        "redis://a,b/0",
    ],
    "dynamodb": ["d", "ftp://d", "http://", "http://u:p@d", "http://d d"],
    "shards": [
        ["m"],
        ["mongodb://"],
        ["mongodb://u:p/w@m"],
        ["mongodb://m/?tlsCertificateKeyFilePassword=x"],
        ["mongodb://m:0"],
    ],
    "providers": [{"fcm": "f"}, {"smtp": "http://s"}, {"twilio": "https://sid:secret@t"}],
    "edge": [[{"name": "a", "url": "a"}]],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in NOT_ADDRESSES.items() for value in values]
)
def test_what_is_not_an_address_is_refused(load: Load, name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=f"{name}.* must be"):
        load(**{name: value})


def test_addresses_of_sentinels_with_credentials(load: Load) -> None:
    found = load(
        redis="rediss+sentinel://app:p%2Fw@a:26379,b/main/1",
        redis_security={"sentinel_username": "sentinel", "sentinel_password": "q", "tls": {}},
    )
    assert found.redis == "rediss+sentinel://a:26379,b/main/1"
    security = found.redis_security
    assert (security.username, security.password, security.sentinel_password) == ("app", Secret("p/w"), Secret("q"))


def test_addresses_of_every_form(load: Load) -> None:
    load(
        kafka=f"a.b:1, [::1]:9092, x_y.{'a' * 63}.svc:1",
        redis="rediss://:p@[::1]:6379/0",
        shards=["mongodb+srv://u:p@cluster.example/?retryWrites=true"],
        dynamodb="http://127.0.0.1:8000/",
        providers={"smtp": "smtps://mail:465"},
    )


def test_all_problems_are_listed_at_once(load: Load) -> None:
    with pytest.raises(SettingsError) as error:
        load({"NOTIFY_PARTITIONS": "many"}, colour="red", web_read_token_file="/no/such", standby="mars")
    lines = str(error.value).splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "web_read_token_file",
        "colour",
        "partitions must be a whole number, found text",
        "standby 'mars' is not among regions us, eu, asia",
    ]
    with pytest.raises(SettingsError) as error:
        load(kafka="k", redis="r", shards=["m"], standby="mars")
    assert len(str(error.value).splitlines()) == 5


@hypothesis_settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=4), st.booleans())
def test_a_password_is_never_shown(load: Load, password: str, encoded: bool) -> None:
    """Valid or not, whole or in part: neither the settings nor an error with its traceback shows it."""
    written = quote(f"<{password}>", safe="") if encoded else f"<{password}>"
    try:
        pop = {"name": "a", "url": "http://a", "token": password}
        found = load(redis=f"redis://:{written}@r/0", shards=[f"mongodb://u:{written}@m"], edge=[pop])
    except SettingsError as error:
        assert not encoded
        shown = "".join(traceback.format_exception(error))
    else:
        assert encoded and found.redis_security.password == Secret(f"<{password}>")
        shown = f"{found!r} {found.mongo_security.password} {found.edge[0].token}"
    assert written not in shown and f"<{password}>" not in shown
