"""Every secret setting can be a key of a Secret."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from devtools.kubernetes.secret_keys import secret_keys
from notify_streams.settings import Settings
from notify_streams.settings_layers import secrets_layer
from tests.unit.k8s.pods import SECRETS

KEYS = secret_keys()


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        ("kafka_security.password", "notify-streams"),
        ("kafka_security.oauth.client_secret", "notify-streams"),
        ("kafka_security.tls.key_file", "notify-streams"),
        ("remote_kafka_security.<region>.password", "notify-streams"),
        ("mongo_security.tls.certificate_file", "notify-streams"),
        ("redis_security.password", "notify-streams"),
        ("public.address_key", "notify-streams"),
        ("public.webhook_secrets", "notify-streams"),
        ("providers.fcm_service_account", "notify-streams-providers"),
        ("providers.apns_key", "notify-streams-providers"),
        ("providers.web_push_key", "notify-streams-providers"),
        ("providers.dkim_key", "notify-streams-providers"),
        ("providers.smtp_ca_file", "notify-streams-providers"),
        ("providers.more_credentials", "notify-streams-providers"),
        ("web_edge_token", "notify-streams-views"),
        ("edge", "notify-streams-registry"),
    ],
)
def test_a_secret_setting_is_a_key_of_the_secret_of_those_who_need_it(key: str, secret: str) -> None:
    assert KEYS[key] == secret


def test_what_is_not_secret_is_not_listed() -> None:
    assert not {"kafka", "redis", "kafka_security.protocol", "tables.folder", "providers.fcm"} & KEYS.keys()
    assert {*KEYS.values()} == {*SECRETS}


def test_kubernetes_allows_every_key_and_the_settings_know_it(tmp_path: Path) -> None:
    for key in (one.replace("<region>", "eu") for one in KEYS):
        assert re.fullmatch("[-._a-zA-Z0-9]{1,253}", key)
        (tmp_path / key).write_text("x")
    assert secrets_layer(tmp_path, Settings)
