"""What the runbooks name is there: commands, log actions, files."""

from __future__ import annotations

import ast
import re

import click
import pytest

from devtools.stack.paths import PROJECT
from notify_streams.cli.main import VERBS
from tests.unit.architecture.source_tree import PRODUCT, module_files

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


def repeated_calls() -> set[str]:
    """The names of all retry policies: the values of the label `call`. One that is only the pattern of others (`named`) has none."""
    trees = [ast.parse(file.read_text()) for file in module_files(PRODUCT).values()]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    patterns = {node.value.id for node in nodes if isinstance(node, ast.Attribute) and node.attr == "named"
                if isinstance(node.value, ast.Name)}  # fmt: skip
    found = set()
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id in patterns:
                continue
            for call in ast.iter_child_nodes(node):
                if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(("RetryPolicy", ".named")):
                    found |= names_of(call.args[0])
    return found


def names_of(name: ast.expr) -> set[str]:
    if isinstance(name, ast.Constant):
        return {str(name.value)}
    if isinstance(name, ast.JoinedStr):  # of SES and SNS
        return {ast.unparse(name).removeprefix("f").strip("'").replace("{self._name}", aws) for aws in ("ses", "sns")}
    return set()


def test_each_call_that_may_fail_for_long_is_said_to_be_of_a_service() -> None:
    paragraph = (
        RUNBOOKS.split("## NotifyCallFailing")[1].split("**Look** at the label `call`.")[1].split("The log action")[0]
    )
    explained = set(re.findall(r"`([a-z_.]+)`", paragraph))
    # These have alerts of their own: NotifyRegistrySilent, NotifyRegionLinkCut.
    calls = {call for call in repeated_calls() if not re.fullmatch("registry.*|forward", call)}
    assert {"outbox.commit", "preferences.lease", "ses.credentials"} <= calls
    assert explained == calls


@pytest.mark.parametrize("command", ["deliveries replay", "dead-letters replay", "users forget"])
def test_a_command_that_needs_a_selection_or_a_user_has_one(command: str) -> None:
    found = re.findall(rf"`notify-streams {command}([^`]*)`", RUNBOOKS)
    assert found and all(re.search(r"--(state|reason|topic|since) |USER", one) for one in found), found


def test_a_command_of_kubernetes_says_what_it_is_about() -> None:
    """`kubectl logs` without a pod is refused."""
    commands = re.findall(r"`(kubectl [^`]+)`", RUNBOOKS)
    assert commands
    for command in commands:
        assert re.search(r"logs .*POD$|rollout restart (deployment|statefulset) ROLE$", command), command


def test_a_link_leads_to_a_file() -> None:
    for target in re.findall(r"\]\(([^)#]+)", RUNBOOKS):
        assert (PROJECT / "docs" / target).exists(), target
