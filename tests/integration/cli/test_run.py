"""`notify-streams run`: says where everything is and when it is ready; a second copy is refused."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from devtools.stack import Stack
from devtools.stack.paths import PROJECT
from devtools.subprocesses import python_module
from notify_streams.cli.main import main
from tests.e2e.processes import environ_of

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]


def test_a_second_copy_is_refused_while_the_first_one_runs(stack: Stack) -> None:
    command = python_module("notify_streams.cli", "run", "--role", "receipts", "--role", "views")
    environ = environ_of(stack)
    with subprocess.Popen(command, env=environ, cwd=PROJECT, stderr=subprocess.PIPE, text=True) as first:
        assert first.stderr is not None
        try:
            said = []
            for line in first.stderr:
                said.append(line)
                if line.startswith("READY"):
                    break
            text = "".join(said)
            assert "READY: region us, 2 workers" in text, text
            assert "page: http://127.0.0.1:" in text and str(stack.settings_file("us")) in text
            logs = text.partition("logs in ")[2].splitlines()[0]
            assert (Path(logs) / "receipts.log").is_file()
            second = CliRunner().invoke(main, ["run", "--role", "receipts"], env=environ)
            assert second.exit_code == 1
            assert f"runs already here, started by process {first.pid}" in second.output
        finally:
            first.send_signal(signal.SIGTERM)
        assert first.wait(120) == 0
