"""What verbs print: JSON, or lines that cannot command the terminal."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from devtools.stack.paths import PROJECT
from notify_streams.admin.shards.check import Finding
from notify_streams.cli.lazy_group import LazyGroup, Verb
from notify_streams.cli.output import OutputFailed, print_progress, print_result, run, visible
from notify_streams.cli.regions_streamed import print_each_region
from notify_streams.cli.shards import print_findings
from tests.builders import some_settings

#: Clears the screen, sets the clipboard, and the same by a C1 control.
COMMANDS = "\x1b[2J\x1b]52;c;eHh4\x07\x9b2J\r"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("Grüße, \u0627\n\tx", "Grüße, \u0627\n\tx"), ("a\x1b[2J\x7f\x9b\r\x00", "a\\x1b[2J\\x7f\\x9b\\x0d\\x00")],
)
def test_control_characters_are_shown_and_other_text_stays(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_lines_with_the_text_of_a_sender_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_result(False, {}, [f"value: {COMMANDS}"])
    assert capsys.readouterr().out.removesuffix("\n").isprintable()


def test_lines_with_a_style_of_our_own_keep_it(capsys: pytest.CaptureFixture[str]) -> None:
    print_result(False, {}, ["\x1b[1mbold\x1b[0m"], styled=True)
    assert capsys.readouterr().out == "bold\n"  # click leaves the style out where there is no terminal


def test_json_has_the_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_result(True, {"value": COMMANDS}, ())
    assert json.loads(capsys.readouterr().out) == {"value": COMMANDS}


async def test_what_is_exported_of_a_person_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    async def read(*_: object) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        yield "contacts", {"push": COMMANDS}

    await print_each_region(some_settings(), "u-1", read, as_json=False, settings_of=lambda _: some_settings())
    assert capsys.readouterr().out.replace("\n", "").isprintable()


class Unread(io.TextIOBase):
    """A stream that takes `left` texts."""

    def __init__(self, number: int, left: int) -> None:
        self._error = OSError(number, os.strerror(number))
        self._left = left

    def write(self, text: str) -> int:
        self._left -= 1
        if self._left < 0:
            raise self._error
        return len(text)


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC])
async def test_an_output_that_takes_no_more_is_no_region_without_an_answer(
    as_json: bool, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(*_: object) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        for count in range(100):
            yield "consents", {"n": count}

    monkeypatch.setattr(sys, "stdout", Unread(number, left=8))
    with pytest.raises(OutputFailed):
        await print_each_region(some_settings(), "u-1", read, as_json=as_json, settings_of=lambda _: some_settings())


@pytest.mark.parametrize(("number", "says"), [(errno.EPIPE, ""), (errno.ENOSPC, "No space left on device")])
def test_a_program_whose_output_is_not_taken_fails_without_a_traceback(number: int, says: str) -> None:
    program = (
        "import sys\n"
        "from notify_streams.cli.main import main\n"
        "from tests.unit.cli.test_output import Unread\n"
        f"sys.stdout = Unread({number}, left=2)\n"
        "main(['topics', 'acls'])\n"
    )
    environ = os.environ | {"NOTIFY_CONFIG_DIR": str(PROJECT / "config")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environ, cwd=PROJECT)
    assert done.returncode == 1 and "Traceback" not in done.stderr and says in done.stderr
    assert says or not done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("completion", "bash"), ("registry", "policy"), ("templates", "check"), ("topics", "acls", "--json")],
    ids=" ".join,
)
def test_a_full_disk_is_said_in_one_line(arguments: tuple[str, ...]) -> None:
    done = program(*arguments, stdout="/dev/full")
    assert done.returncode == 1 and "No space left on device" in done.stderr and len(done.stderr.splitlines()) == 1


def test_findings_and_progress_that_cannot_be_written_end_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Unread(errno.ENOSPC, left=0))
    monkeypatch.setattr(sys, "stderr", Unread(errno.EPIPE, left=0))
    with pytest.raises(OutputFailed):
        print_findings([Finding(0, "primary", "a", "")])
    with pytest.raises(OutputFailed):
        print_progress("50 %")


def test_findings_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    print_findings([Finding(0, "kind", "no index [red]", "run `shards init`")])
    assert "no index [red]" in capsys.readouterr().out


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_a_terminal_that_is_not_utf8_shows_what_it_can(encoding: str) -> None:
    arabic = ("templates", "preview", "new_device", "--locale", "ar", "--channel", "push")
    shown = program(*arabic, encoding=encoding)
    assert shown.returncode == 0 and "\\u062a" in shown.stdout, shown.stderr
    found = json.loads(program(*arabic, "--json", encoding=encoding).stdout)
    assert "\u062a" in found["texts"]["push"]["title"], "JSON is UTF-8, whatever the terminal is"


def program(*arguments: str, stdout: str | None = None, encoding: str = "utf-8") -> subprocess.CompletedProcess[str]:
    """A call of the program whose terminal has this encoding; its output goes to a file if one is given."""
    environ = os.environ | {"NOTIFY_CONFIG_DIR": str(PROJECT / "config"), "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "notify_streams.cli", *arguments]
    with Path(stdout or os.devnull).open("w") as file:
        out = file if stdout else subprocess.PIPE
        return subprocess.run(
            command, stdout=out, stderr=subprocess.PIPE, encoding="utf-8", env=environ, cwd=PROJECT, check=False
        )


@click.command()
@click.argument("number", type=int)
@click.option("--file")
def fail(number: int, file: str | None) -> None:
    """Its work meets this error."""

    async def work() -> None:
        raise OSError(number, os.strerror(number), file) if file else OSError(number, os.strerror(number))

    run(work())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([str(errno.ENOSPC)], "No space left on device, on this machine; TMPDIR"),
        ([str(errno.EMFILE)], "Too many open files, on this machine"),
        ([str(errno.EACCES), "--file", "/a/b.checkpoint"], "/a/b.checkpoint: Permission denied"),
        ([str(errno.ECONNREFUSED)], "a service failed (ConnectionRefusedError)"),
    ],
    ids=["disk", "files", "permission", "connection"],
)
def test_a_fault_of_this_machine_is_not_said_to_be_of_a_service(arguments: list[str], says: str) -> None:
    @click.group(cls=LazyGroup, verbs={"fail": Verb(f"{__name__}:fail", "Fail.")})
    def program() -> None: ...

    done = CliRunner().invoke(program, ["fail", *arguments])
    assert done.exit_code == 1 and done.output.startswith(f"Error: {says}"), done.output
    assert len(done.output.splitlines()) == 1
