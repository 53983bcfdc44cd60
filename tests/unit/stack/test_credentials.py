"""Log-ins of a secure region: the operator's in the settings file, those of a role in its worker's environment."""

from pathlib import Path

import pytest

from devtools.sandbox.keys import open_keys
from devtools.stack import settings_overlay
from devtools.stack.credentials import Credentials
from devtools.stack.region import Region
from notify_streams.settings import Settings, load_settings
from tests.unit.stack.test_region_plan import a_plan


@pytest.fixture
def regions(tmp_path: Path) -> dict[str, Region]:
    """Two secure ones, and one that is not."""
    found = {name: Region(name, tmp_path / name, a_plan(secure=name != "asia")) for name in ("us", "eu", "asia")}
    for region in found.values():
        if region.credentials:
            region.credentials.create()
        open_keys(region.folder / "sandbox" / "keys")
    return found


def settings_of(regions: dict[str, Region], name: str, role: str | None = None) -> Settings:
    own, others = regions[name], {other: one for other, one in regions.items() if other != name}
    settings_overlay.write(own.folder / "settings.yaml", settings_overlay.overlay(own, others))
    environ = settings_overlay.worker_environ(own, role, others) if role else {}
    return load_settings(name, environ=environ, overlay=own.folder / "settings.yaml")


def test_commands_log_in_as_the_operator_and_a_worker_as_its_role(regions: dict[str, Region]) -> None:
    operator, worker = settings_of(regions, "us"), settings_of(regions, "us", "cric_push")
    assert operator.kafka_security.username == "notify-operator"
    assert worker.kafka_security.username == "notify-cric-push"
    assert worker.kafka_security.protocol == "SASL_SSL"
    assert worker.mongo_security.tls == worker.kafka_security.tls
    secrets = [
        one.password
        for settings in (operator, worker)
        for one in (settings.kafka_security, settings.mongo_security, settings.redis_security)
    ]
    assert None not in secrets and len({*secrets}) == 5, "Valkey has one password"


@pytest.mark.parametrize(("role", "user"), [("forward", "forward"), (None, "operator")], ids=["worker", "command"])
def test_each_region_is_another_user_at_the_kafka_of_the_others(
    regions: dict[str, Region], role: str | None, user: str
) -> None:
    us, eu, asia = (settings_of(regions, name, role).remote_kafka_security for name in ("us", "eu", "asia"))
    assert (us["eu"].username, asia["eu"].username) == (f"notify-{user}-from-us", f"notify-{user}-from-asia")
    assert us["eu"].password != asia["eu"].password
    assert us["asia"].protocol == eu["asia"].protocol == "PLAINTEXT"


def test_a_region_without_security_has_no_log_ins(regions: dict[str, Region]) -> None:
    asia = settings_of(regions, "asia")
    assert (asia.kafka_security.username, asia.mongo_security.username, asia.redis_security.password) == (
        None,
        None,
        None,
    )


def test_every_file_but_the_authoritys_certificate_is_its_owners(tmp_path: Path) -> None:
    made = Credentials(tmp_path)
    made.create()
    made.file("app")
    files = [*(tmp_path / "credentials").iterdir()]
    assert {file.name for file in files if file.stat().st_mode & 0o077} == {"ca.pem"}
    assert "PRIVATE" not in made.ca.read_text()


def test_certificates_and_passwords_stay(tmp_path: Path) -> None:
    first, second = Credentials(tmp_path), Credentials(tmp_path)
    first.create()
    before = first.server.read_bytes(), first.password("app")
    second.create()
    assert (second.server.read_bytes(), second.password("app")) == before
