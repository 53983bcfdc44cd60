"""SIGTERM ends a verb as Ctrl-C does: what it has started is stopped, by tasks that go on until then."""

import signal
import subprocess
import sys

import pytest

SCRIPT = """
import asyncio, os, signal, sys, types
from notify_streams.cli.main import main
from notify_streams.cli.output import run_async
import click

@click.command()
def verb() -> None:
    async def stop(asked: asyncio.Event) -> None:
        await asked.wait()
        print("stopped what it had started")

    async def run() -> None:
        asked = asyncio.Event()
        stopping = asyncio.create_task(stop(asked))
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)
        try:
            await asyncio.sleep(60)
        finally:
            asked.set()
            await stopping
    run_async(run())

verbs = types.ModuleType("verbs")
verbs.chaos = verb
sys.modules["devtools.chaos.command"] = verbs
main(["chaos"])
"""


@pytest.mark.parametrize("ctrl_c", [signal.SIG_DFL, signal.SIG_IGN])
def test_sigterm_ends_a_verb_as_ctrl_c_does(ctrl_c: signal.Handlers) -> None:
    """Also where Ctrl-C is ignored, as in the background jobs of a script."""
    script = f"import signal; signal.signal(signal.SIGINT, signal.{ctrl_c.name})\n{SCRIPT}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, "stopped what it had started\n"), done.stderr
