"""SIGTERM ends a verb as Ctrl-C does: what it has started is stopped."""

import subprocess
import sys

SCRIPT = """
import asyncio, os, signal, sys, types
from notify_streams.cli.main import main
import click

@click.command()
def verb() -> None:
    async def run() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(60)
        finally:
            print("stopped what it had started")
    asyncio.run(run())

verbs = types.ModuleType("verbs")
verbs.chaos = verb
sys.modules["devtools.chaos.command"] = verbs
main(["chaos"])
"""


def test_sigterm_ends_a_verb_as_ctrl_c_does() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, "stopped what it had started\n"), done.stderr
