"""`NOTIFY_SECRETS_DIR`: a folder as Kubernetes makes it of a Secret, whose keys are names of settings."""

from __future__ import annotations

import shutil
from pathlib import Path

import certifi
import pytest
import yaml

from notify_streams.errors import SettingsError
from notify_streams.secret import Secret
from notify_streams.settings import Settings, load_settings


def loaded(tmp_path: Path, secrets: dict[str, str], environ: dict[str, str] | None = None, **but: object) -> Settings:
    folder = tmp_path / "secrets"
    shutil.rmtree(folder, ignore_errors=True)
    real = folder / "..2026_11_28"
    real.mkdir(parents=True)
    (folder / "..data").symlink_to(real.name)
    for name, text in secrets.items():
        (real / name).write_text(text)
        (folder / name).symlink_to(Path("..data", name))
    usual = {"kafka": "kafka:9092", "shards": ["mongodb://one"], "redis": "redis://r"}
    (tmp_path / "us.yaml").write_text(yaml.safe_dump(usual | but))
    return load_settings("us", environ={"NOTIFY_SECRETS_DIR": str(folder), **(environ or {})}, config_dir=tmp_path)


def test_each_file_is_the_setting_that_it_is_named_as(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        {
            "redis_security.password": "r3dis\n",
            "providers.fcm_service_account": "{}",
            "web_read_token": "a-token-that-reads",
            "edge": "[{name: fra, url: 'https://fra.example', token: t}]",
            "remote_kafka_security.eu.password": "of-eu",
            "remote_kafka_security.eu.username": "us",
            "remote_kafka_security.eu.protocol": "SASL_PLAINTEXT",
            "remote_kafka_security.eu.mechanism": "PLAIN",
        },
        remote_kafka={"eu": "kafka.eu:9092"},
    )
    assert settings.redis_security.password == Secret("r3dis")
    assert settings.web_read_token == Secret("a-token-that-reads")
    assert [pop.name for pop in settings.edge] == ["fra"]
    assert settings.remote_kafka_security["eu"].password == Secret("of-eu")
    account = settings.providers.fcm_service_account
    assert account is not None
    assert account.file == tmp_path / "secrets" / "providers.fcm_service_account", "so that a new one is read again"


def test_a_setting_that_is_a_file_has_that_file(tmp_path: Path) -> None:
    authority = Path(certifi.where()).read_text()
    settings = loaded(tmp_path, {"mongo_security.tls.ca_file": authority})
    assert settings.mongo_security.tls is not None
    assert settings.mongo_security.tls.ca_file == str(tmp_path / "secrets" / "mongo_security.tls.ca_file")


def test_the_folder_is_above_the_region_s_file_and_below_variables(tmp_path: Path) -> None:
    secrets = {"redis_security.password": "of-the-folder"}
    given = {"password": "of-the-file", "username": "kept"}
    settings = loaded(tmp_path, secrets, redis_security=given).redis_security
    assert (settings.username, settings.password) == ("kept", Secret("of-the-folder"))
    settings = loaded(tmp_path, secrets, {"NOTIFY_REDIS_SECURITY__PASSWORD": "of-the-variable"}).redis_security
    assert settings.password == Secret("of-the-variable")


@pytest.mark.parametrize("name", ["kafka_security.passwort", "fcm.json", "web_read_token.x"])
def test_a_file_that_is_no_setting_is_refused_without_its_content(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}: there is no such setting") as error:
        loaded(tmp_path, {name: "s3cr3t"})
    assert "s3cr3t" not in str(error.value)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="NOTIFY_SECRETS_DIR: /no/such cannot be read: No such file"):
        loaded(tmp_path, {}, {"NOTIFY_SECRETS_DIR": "/no/such"})
