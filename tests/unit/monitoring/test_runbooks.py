"""What the runbooks name is there: commands, log actions, files."""

from __future__ import annotations

import re

import click
import pytest

from devtools.stack.paths import PROJECT
from notify_streams.cli.main import VERBS

RUNBOOKS = (PROJECT / "docs" / "runbooks.md").read_text()
COMMANDS = sorted(set(re.findall(r"`notify-streams ([a-z -]*[a-z])", RUNBOOKS)))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_of_the_program(command: str) -> None:
    name, *words = command.split(" --")[0].split()
    found = VERBS[name].load()
    for word in words:
        if isinstance(found, click.Group):
            assert word in found.commands, command
            found = found.commands[word]
    for option in re.findall(r"--[a-z-]+", command):
        assert any(option in parameter.opts for parameter in found.params), command


def test_a_log_action_is_one_that_the_code_writes() -> None:
    code = "\n".join(file.read_text() for file in (PROJECT / "notify_streams").rglob("*.py"))
    for action in re.findall(r"log action `([a-z_.]+)`", RUNBOOKS):
        assert f'"{action}"' in code, action


def test_a_link_leads_to_a_file() -> None:
    for target in re.findall(r"\]\(([^)#]+)", RUNBOOKS):
        assert (PROJECT / "docs" / target).exists(), target
