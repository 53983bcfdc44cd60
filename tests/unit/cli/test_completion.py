"""Completion in a shell: verbs, options, names of regions."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from notify_streams.cli.main import VERBS, main
from tests.unit.architecture.source_tree import PROJECT

BASH = shutil.which("bash") or ""
#: Calls the function that the script has registered, as readline does, and prints what it offers. `_` is a word not begun yet.
ASK = """
eval "$(notify-streams completion bash)"
function=$(complete -p notify-streams | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
while read -r -a COMP_WORDS; do
    [[ ${COMP_WORDS[-1]} == _ ]] && COMP_WORDS[-1]=""
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
    "$function" notify-streams
    echo "${COMPREPLY[*]}"
done
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A shell that finds the program of this checkout, with two regions."""
    program = tmp_path / "bin" / "notify-streams"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom notify_streams.cli import main\nmain()\n")
    program.chmod(0o755)
    settings = tmp_path / "settings"
    settings.mkdir()
    for name in ("north", "south", "categories"):
        (settings / f"{name}.yaml").touch()
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(PROJECT), "NOTIFY_CONFIG_DIR": str(settings)}


def test_bash_is_offered_verbs_options_and_regions(environ: dict[str, str]) -> None:
    cases = {
        "notify-streams dead": "dead-letters",
        "notify-streams prefs s": "set stop-all",
        "notify-streams send --sys": "--system",
        "notify-streams why --region _": "north south",
        "notify-streams failover no": "north",
        "notify-streams failover south --to _": "north south",
        "notify-streams audit --regions north,": "north,south",
        "notify-streams worker --role cric_s": "cric_sms",
        "notify-streams bench ro": "router",
    }
    lines = "".join(f"{line}\n" for line in cases)
    done = subprocess.run(
        [BASH, "--norc", "-c", ASK], input=lines, capture_output=True, text=True, env=environ, timeout=60
    )
    assert dict(zip(cases, done.stdout.splitlines(), strict=True)) == cases, done.stderr
    assert done.stderr == ""


def test_the_tab_key_completes_in_an_interactive_bash(environ: dict[str, str]) -> None:
    terminal, shell_side = pty.openpty()
    interactive = [BASH, "--norc", "--noprofile", "-i"]
    prompt = environ | {"PS1": "ready> ", "TERM": "dumb"}
    with subprocess.Popen(
        interactive, stdin=shell_side, stdout=shell_side, stderr=shell_side, env=prompt, start_new_session=True
    ) as shell:
        try:
            wait_until_shown(terminal, "ready> ")
            os.write(terminal, b'eval "$(notify-streams completion bash)"\n')
            wait_until_shown(terminal, "ready> ")
            os.write(terminal, b"notify-streams fail\t")
            wait_until_shown(terminal, "failover ")
            os.write(terminal, b"no\t")
            wait_until_shown(terminal, "north ")
        finally:
            shell.kill()
            os.close(terminal)
            os.close(shell_side)


def wait_until_shown(terminal: int, text: str, timeout_s: float = 30.0) -> None:
    """Read what the shell shows until this text is the end of it."""
    shown, deadline = "", time.monotonic() + timeout_s
    while not shown.endswith(text):
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"{text!r} is not the end of {shown!r}"
        shown += os.read(terminal, 4096).decode()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_names_the_program_and_its_variable(shell: str) -> None:
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0
    assert "notify-streams" in done.output and f"_NOTIFY_STREAMS_COMPLETE={shell}_complete" in done.output
    if found := shutil.which(shell):
        subprocess.run([found, "-n"], input=done.output, text=True, check=True, timeout=30)


def test_every_verb_is_offered_with_its_line() -> None:
    environ = {"COMP_WORDS": "notify-streams ", "COMP_CWORD": "1", "_NOTIFY_STREAMS_COMPLETE": "zsh_complete"}
    done = CliRunner().invoke(main, prog_name="notify-streams", env=environ)
    assert done.output.splitlines() == [
        text for name, verb in sorted(VERBS.items()) for text in ("plain", name, verb.help)
    ]
