"""SIGTERM and SIGHUP end a verb as Ctrl-C does: what it has started is stopped, by tasks that go on until then."""

import ast
import inspect
import signal
import subprocess
import sys

import pytest

from notify_streams.cli.main import VERBS
from tests.unit.cli.test_program import commands_below

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
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), SENT)
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


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("ctrl_c", [signal.SIG_DFL, signal.SIG_IGN])
def test_a_signal_ends_a_verb_as_ctrl_c_does(ctrl_c: signal.Handlers, sent: signal.Signals) -> None:
    """Also where Ctrl-C is ignored, as in the background jobs of a script. A terminal that is closed sends SIGHUP."""
    script = f"import signal; SENT = signal.{sent.name}; signal.signal(signal.SIGINT, signal.{ctrl_c.name})\n{SCRIPT}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, "stopped what it had started\n"), done.stderr


def test_a_verb_below_nohup_goes_on_when_the_terminal_is_closed() -> None:
    script = SCRIPT.replace("await asyncio.sleep(60)", "await asyncio.sleep(0.1)\n            print('went on')")
    script = f"import signal; SENT = signal.SIGHUP; signal.signal(SENT, signal.SIG_IGN)\n{script}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, "went on\nstopped what it had started\n"), done.stderr


WITH_SENTENCE = """
import asyncio, os, signal, sys, types
from notify_streams.cli.main import main
from notify_streams.cli.output import run
import click

@click.command()
def verb() -> None:
    async def work() -> None:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), SENT)
        await asyncio.sleep(60)
    run(work(), interrupted="run it again")

verbs = types.ModuleType("verbs")
verbs.chaos = verb
sys.modules["devtools.chaos.command"] = verbs
main(["chaos"])
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_verb_says_what_to_do_now(sent: signal.Signals) -> None:
    # Ctrl-C is ignored in the background jobs of a script, and so in the processes that they start.
    as_usual = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    script = f"import signal; SENT = signal.{sent.name}; {as_usual}\n{WITH_SENTENCE}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr.split("\n")) == (1, ["interrupted: run it again", "", "Aborted!", ""])


@pytest.mark.parametrize(
    "name",
    [
        "dead-letters replay",
        "deliveries replay",
        "failover",
        "prefs import",
        "restore apply",
        "send",
        "shards move",
        "tables rebuild",
        "topics grow",
        "users forget",
    ],
)
def test_a_verb_that_can_be_left_half_done_has_such_a_sentence(name: str) -> None:
    """ "Aborted!" alone says that nothing was done."""
    verb = name.partition(" ")[0]
    command = dict(commands_below(VERBS[verb].load(), verb))[name]
    assert command.callback is not None
    tree = ast.parse(inspect.getsource(inspect.unwrap(command.callback)))
    assert any(isinstance(node, ast.keyword) and node.arg == "interrupted" for node in ast.walk(tree))
