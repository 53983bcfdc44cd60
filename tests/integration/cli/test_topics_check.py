"""`topics check` on a real broker: what an init container waits for, and what it only says."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from devtools.stack import Stack
from devtools.stack.paths import PROJECT
from notify_streams.cli.main import main

pytestmark = pytest.mark.stack


@pytest.fixture
def environ(stack: Stack) -> dict[str, str]:
    """For a region whose topics are there."""
    found = {"NOTIFY_STACK_DIR": str(stack.folder), "NOTIFY_CONFIG_DIR": str(PROJECT / "config")}
    assert CliRunner().invoke(main, ["topics", "ensure"], env=found).exit_code == 0
    return found


@pytest.mark.parametrize(
    ("changed", "strict", "for_start"),
    [
        ({}, 0, 0),
        ({"NOTIFY_MAX_RECORD_BYTES": "1500000"}, 1, 0),
        ({"NOTIFY_PARTITIONS": "9"}, 1, 1),
        ({"NOTIFY_TRIGGER_SYSTEMS": "[never_created]"}, 1, 1),
    ],
    ids=["nothing changed", "a limit of records", "the partitions", "a new system"],
)
def test_a_changed_configuration_is_a_warning_at_a_start(
    environ: dict[str, str], changed: dict[str, str], strict: int, for_start: int
) -> None:
    environ |= changed
    done = CliRunner().invoke(main, ["topics", "check"], env=environ)
    assert done.exit_code == strict, done.output
    assert "warning" not in done.output
    done = CliRunner().invoke(main, ["topics", "check", "--for-start", "--role", "critical", "--json"], env=environ)
    assert done.exit_code == for_start, done.output
    found = json.loads(done.stdout)
    assert (found["holds"], bool(found["wrong"])) == (not for_start, bool(for_start))
    assert bool(found["warnings"]) == ("NOTIFY_MAX_RECORD_BYTES" in changed)


def test_a_role_waits_for_no_topic_of_another_role(environ: dict[str, str]) -> None:
    environ |= {"NOTIFY_EDGE": "[{name: never_created, url: https://pop.example}]"}
    for role, status in (("critical", 0), ("registry", 1)):
        done = CliRunner().invoke(main, ["topics", "check", "--for-start", "--role", role], env=environ)
        assert done.exit_code == status, done.output
