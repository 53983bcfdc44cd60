"""SIGTERM ends a verb as Ctrl-C does: what it has started is stopped, by tasks that go on until then."""

import subprocess
import sys

SCRIPT = """
import asyncio, os, signal, sys, types
from notify_streams.cli.main import main
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
    asyncio.run(run())

verbs = types.ModuleType("verbs")
verbs.chaos = verb
sys.modules["devtools.chaos.command"] = verbs
main(["chaos"])
"""


def test_sigterm_ends_a_verb_as_ctrl_c_does() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, "stopped what it had started\n"), done.stderr
