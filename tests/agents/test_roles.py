"""What each role declares: its agents and topics, and no connection at import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from devtools.stack.paths import PROJECT
from notify_streams.app import MODULES, web_port
from notify_streams.roles import CHANNEL_ROLES, LANES, ROLES
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
}

#: Runs in a process of its own, because a process has one application. Opening a connection is an error there.
_DECLARE = """
import json, socket

def refuse(self, address, *rest):
    if self.family in (socket.AF_INET, socket.AF_INET6):
        raise AssertionError(f"something connects to {address} at import")

socket.socket.connect = socket.socket.connect_ex = refuse
from notify_streams.app import worker_app
app = worker_app()
app.discover()
print(json.dumps({
    "id": app.conf.id,
    "topics": sorted({name for agent in app.agents.values() for name in agent.channel.topics}),
    "outbox": app.outbox is not None,
    "follows_moves": app.shards.follows,
}))
"""


def declared(role: str, tmp_path: Path) -> dict[str, Any]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("NOTIFY_")}
    environ |= {"NOTIFY_REGION": "us", "NOTIFY_ROLE": role}
    # Not a local stack's addresses. The data folder must not be written.
    environ |= {"NOTIFY_CONFIG_DIR": str(PROJECT / "config"), "NOTIFY_DATA_DIR": str(tmp_path / "data")}
    done = subprocess.run([sys.executable, "-c", _DECLARE], env=environ, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "data").exists()
    return dict(json.loads(done.stdout))


def test_every_role_has_its_modules() -> None:
    assert set(MODULES) == set(ROLES) == set(READS)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_reads_its_topics_and_connects_to_nothing_before_it_starts(role: str, tmp_path: Path) -> None:
    found = declared(role, tmp_path)
    assert found["id"] == f"notify-us-{role}"
    topics = set(found["topics"])
    assert READS[role] <= topics
    # No two roles process the same topic: each record would be processed twice.
    others = set().union(*(topics for other, topics in READS.items() if other != role and role not in LANES))
    assert not (topics - READS[role]) & others
    assert found["outbox"] == (role in (*LANES, "registry"))
    assert found["follows_moves"], "a role that does not follow moves works on a bucket's old shard"


def test_roles_have_ports_of_their_own() -> None:
    settings = load_settings("us", environ={}, config_dir=PROJECT / "config")
    assert len({web_port(settings, role) for role in ROLES}) == len(ROLES)
