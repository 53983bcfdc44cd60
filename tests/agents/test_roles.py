"""What each role declares: its agents and topics, and no connection at import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from devtools.stack.paths import PROJECT
from notify_streams.admin.topic_acls import agent_topics, table_topics
from notify_streams.app import web_port
from notify_streams.roles import CHANNEL_ROLES, LANES, MODULES, ROLES
from notify_streams.settings import load_settings

_TRIGGERS = {"triggers.payments", "triggers.marketing", "triggers.security", "triggers.forwarded"}
#: Topics that a role must read; it may read more (tables, control logs).
READS = {
    **dict.fromkeys(LANES, _TRIGGERS),
    **{role: {role} for role in CHANNEL_ROLES},
    "registry": {"user_signups", "user_contacts", "preference_updates"},
    "forward": {"forward.eu", "forward.asia"},
    "receipts": {"receipts"},
    "views": set(),
    "webhooks": set(),
}

EDGE = {"name": "paris", "url": "http://127.0.0.1:1"}

#: Each role runs in a process of its own, because a process has one application: forked, so that libraries are imported once. Opening a
#: connection is an error there.
_DECLARE = """
import json, os, socket, sys

def refuse(self, address, *rest):
    if self.family in (socket.AF_INET, socket.AF_INET6):
        raise AssertionError(f"something connects to {address} at import")

socket.socket.connect = socket.socket.connect_ex = refuse
import notify_streams.web
from notify_streams.app import worker_app
from notify_streams.transport.tables.changelog_table import ChangelogTable

def declare(role):
    os.environ["NOTIFY_ROLE"] = role
    app = worker_app()
    app.discover()
    print(json.dumps({
        "role": role,
        "id": app.conf.id,
        "topics": sorted({name for agent in app.agents.values() for name in agent.channel.topics}),
        "tables": sorted(
            found.name
            for name, module in [*sys.modules.items()] if name.startswith("tables.")
            for found in vars(module).values() if isinstance(found, ChangelogTable)
        ),
        "outbox": app.outbox is not None,
        "follows_moves": app.shards.follows,
    }), flush=True)

for role in sys.argv[1:]:
    child = os.fork()
    if not child:
        declare(role)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each role declares. A role whose import failed is not in it; pytest shows why."""
    data = tmp_path_factory.mktemp("roles") / "data"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("NOTIFY_")}
    # Not a local stack's addresses. The data folder must not be written.
    environ |= {"NOTIFY_REGION": "us", "NOTIFY_CONFIG_DIR": str(PROJECT / "config"), "NOTIFY_DATA_DIR": str(data)}
    environ["NOTIFY_EDGE"] = json.dumps([EDGE])
    environ |= {"NOTIFY_PROVIDERS__FCM": "http://127.0.0.1:1", "NOTIFY_PROVIDERS__TWILIO": "http://127.0.0.1:1"}
    command = [sys.executable, "-c", _DECLARE, *ROLES]
    done = subprocess.run(command, env=environ, cwd=PROJECT, capture_output=True, text=True)
    print(done.stderr)
    assert not data.exists()
    return {found["role"]: found for found in map(json.loads, done.stdout.splitlines())}


def test_every_role_has_its_modules() -> None:
    assert set(MODULES) == set(ROLES) == set(READS)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_reads_its_topics_and_connects_to_nothing_before_it_starts(
    role: str, declared: dict[str, dict[str, Any]]
) -> None:
    found = declared[role]
    assert found["id"] == f"notify-us-{role}"
    topics = set(found["topics"])
    assert READS[role] <= topics
    # No two roles process the same topic: each record would be processed twice.
    others = set().union(*(topics for other, topics in READS.items() if other != role and role not in LANES))
    assert not (topics - READS[role]) & others
    assert found["outbox"] == (role in (*LANES, "registry"))
    assert found["follows_moves"], "a role that does not follow moves works on a bucket's old shard"


@pytest.mark.parametrize("role", ROLES)
def test_acls_name_the_topics_that_a_role_reads(role: str, declared: dict[str, dict[str, Any]]) -> None:
    environ = {"NOTIFY_EDGE": json.dumps([EDGE])}
    settings = load_settings("us", environ=environ, config_dir=PROJECT / "config")
    assert agent_topics(settings, role) == {*declared[role]["topics"]}
    assert table_topics(role) == {*declared[role]["tables"]}


def test_roles_have_ports_of_their_own() -> None:
    settings = load_settings("us", environ={}, config_dir=PROJECT / "config")
    assert len({web_port(settings, role) for role in ROLES}) == len(ROLES)
