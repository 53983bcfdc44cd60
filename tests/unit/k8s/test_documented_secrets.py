"""The Secrets that docs/deploy/kubernetes.md creates: with exactly their keys every pod starts."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from devtools.stack.paths import PROJECT
from notify_streams.cli.main import main
from notify_streams.delivery.providers import check_credentials
from notify_streams.roles import CHANNEL_ROLES, channel_of
from tests.console_blocks import blocks, commands_in_text, pages
from tests.unit.k8s.pods import SECRETS, settings_of

Document = dict[str, Any]

PAGE = PROJECT / "docs" / "deploy" / "kubernetes.md"


def service_account() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "notify",
            "private_key_id": "1",
            "private_key": key.decode(),
            "client_email": "notify@notify.iam.gserviceaccount.com",
            "token_uri": "https://oauth2.googleapis.com/token",
        }
    )


@pytest.fixture(scope="module")
def documented() -> dict[str, dict[str, str]]:
    """Secret → its keys with values. What the page takes from a file has a value that may stand in such a file."""
    in_files = {
        "providers.fcm_service_account": service_account(),
        "public.address_key": "a" * 64,
        "public.link_keys": Fernet.generate_key().decode(),
    }
    found: dict[str, dict[str, str]] = {}
    for command in (line for block in blocks(PAGE) for line in block.commands):
        words = shlex.split(
            re.sub(r"\$\(openssl rand -hex 32\)", lambda _: token_hex(32), command.replace("\\\n", " "))
        )
        if "secret" not in words:
            continue
        keys = found.setdefault(words[words.index("generic") + 1], {})
        for word in words:
            if word.startswith("--from-literal="):
                key, _, keys[key] = word.removeprefix("--from-literal=").partition("=")
            elif word.startswith("--from-file="):
                key = word.removeprefix("--from-file=").partition("=")[0]
                keys[key] = in_files.get(key, "a-password\n")
    return found


def test_every_pod_starts_with_the_keys_of_the_page(
    documented: dict[str, dict[str, str]],
    region_build: Callable[[str], list[Document]],
    tmp_path: Path,
) -> None:
    assert documented.keys() == SECRETS.keys() - {"notify-streams-registry"}, "edge is for those who have one"
    documents = region_build("us")
    pods = [one for one in documents if one["kind"] in ("Deployment", "Job")]
    for document in pods:
        settings, role = settings_of(documents, document, tmp_path, documented)
        if role in CHANNEL_ROLES:
            check_credentials(settings.providers, channel_of(role))
            assert not settings.providers.sandbox_channels(), "no provider is in the pod itself"
        environ = {
            "NOTIFY_REGION": "us",
            "NOTIFY_CONFIG_DIR": str(tmp_path),
            "NOTIFY_SECRETS_DIR": str(tmp_path / "secrets"),
        }
        done = CliRunner().invoke(main, ["config", "check"], env=environ)
        assert done.exit_code == 0, done.output


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_command_for_the_cluster_names_its_namespace(page: Path) -> None:
    commands = [line for block in blocks(page) if block.language == "console" for line in block.commands]
    for command in (*commands, *commands_in_text(page)):
        if re.match(r"kubectl (?!apply -[fk])", command):
            assert command.startswith("kubectl -n "), command
