"""What verbs print: JSON, or lines that cannot command the terminal."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from devtools.stack.paths import PROJECT
from notify_streams.cli.output import OutputFailed, print_result, visible
from notify_streams.cli.regions_streamed import print_each_region
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
