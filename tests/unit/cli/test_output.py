"""What verbs print: JSON, or lines that cannot command the terminal."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from notify_streams.cli.output import print_result, visible
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
