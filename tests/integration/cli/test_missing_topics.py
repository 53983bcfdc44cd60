"""A verb that writes knows at once that topics are missing."""

from __future__ import annotations

import time

import pytest
from click.testing import CliRunner

from devtools.stack import Stack
from devtools.stack.paths import PROJECT
from notify_streams.cli.main import main

pytestmark = pytest.mark.stack


@pytest.mark.parametrize(
    "arguments",
    [
        ("send", str(PROJECT / "tests/integration/cli/trigger.jsonl")),
        ("users", "add", "ada", "--push", "token"),
        ("users", "move", "ada", "--to", "eu", "--version", "2"),
        ("prefs", "set", "ada", "payments", "push", "in"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_verb_says_that_topics_are_missing_and_what_creates_them(stack: Stack, arguments: tuple[str, ...]) -> None:
    environ = {
        "NOTIFY_STACK_DIR": str(stack.folder),
        "NOTIFY_CONFIG_DIR": str(PROJECT / "config"),
        "NOTIFY_TRIGGER_SYSTEMS": "[never_created]",
    }
    started = time.monotonic()
    done = CliRunner().invoke(main, arguments, env=environ)
    assert time.monotonic() - started < 30
    assert (done.exit_code, type(done.exception)) == (1, SystemExit), done.exception
    (line,) = done.output.splitlines()
    assert "triggers.never_created" in line or "topics are missing" in line
    assert "notify-streams topics ensure --region us" in line


@pytest.mark.parametrize(
    "arguments",
    [("prefs", "get", "reader-only"), ("prefs", "address", "sms", "+15550100299")],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_verb_that_only_reads_the_database_needs_no_kafka(stack: Stack, arguments: tuple[str, ...]) -> None:
    """Support asks what a person has chosen, also while Kafka is down."""
    environ = {
        "NOTIFY_STACK_DIR": str(stack.folder),
        "NOTIFY_CONFIG_DIR": str(PROJECT / "config"),
        "NOTIFY_KAFKA": "127.0.0.1:1",
    }
    done = CliRunner().invoke(main, arguments, env=environ)
    assert "Kafka" not in done.output, done.output
    # Where the registry has its table, it says that no one has this id.
    assert any(words in done.output for words in ("version 0", "has signed up", "not suppressed: ")), done.output
