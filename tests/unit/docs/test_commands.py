"""Every command that a document has is run by a test, or says why it is not; and whatever it names exists."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
from typing import TYPE_CHECKING

import click
import pytest

from devtools.stack.paths import PROJECT
from notify_streams.cli.main import VERBS
from tests.console_blocks import DOCS, Block, blocks, commands_in_text, pages

if TYPE_CHECKING:
    from pathlib import Path

PAGES = pages()
BLOCKS = [block for page in PAGES for block in blocks(page)]
GROUPS = [name for name, verb in VERBS.items() if isinstance(verb.load(), click.Group)]
TARGETS = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
#: Words between a verb and its first option: subcommands, then values, as `us`, `TRIGGER_ID` or `-`.
_VALUE = re.compile(r"[A-Z_<{\[]|\d")


def _named(page: Path) -> list[str]:
    """Every command of a page: lines of its blocks, and what is between backquotes."""
    lines = [command for block in blocks(page) if block.language == "console" for command in block.commands]
    return [*lines, *commands_in_text(page)]


def _verbs(text: str) -> list[list[str]]:
    """The words behind each `notify-streams` of a line, up to the end of that command; or a verb with a subcommand alone, as in `users add`."""
    found = re.findall(r"(?:^|[|(&;]\s*|-- )notify-streams ((?:[^|;&>\n]|\\\n)+)", text)
    if not found and _SHORT.match(text):
        found = [text]
    return [shlex.split(re.sub(r"\$\(.*|[\"'].*", "", one).replace("\\\n", " ")) for one in found]


def _id(text: str) -> str:
    return " ".join(text.split())[:60]


#: A verb that has subcommands, and one of them.
_SHORT = re.compile(rf"({'|'.join(GROUPS)}) [a-z][a-z-]+( |$)")
_COMMAND = re.compile(r"notify-streams |python -m |(?<![\w-])make ")
NAMED = sorted(
    {
        (str(page.relative_to(PROJECT)), text)
        for page in PAGES
        for text in _named(page)
        if _COMMAND.search(text) or _SHORT.match(text)
    }
)


def test_every_page_is_in_the_navigation() -> None:
    assert {page for page in PAGES if page.is_relative_to(DOCS)} == {*DOCS.rglob("*.md")}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_a_block_has_a_language_so_that_none_hides_a_command(block: Block) -> None:
    assert block.language in ("console", "python", "java", "javascript", "yaml", "json", "text")
    if block.language == "python":
        compile(block.text, block.place, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if block.language != "console":
        assert "notify-streams " not in block.text and not block.marker


@pytest.mark.parametrize("block", [one for one in BLOCKS if one.marker], ids=lambda block: block.place)
def test_a_block_that_is_not_run_says_why(block: Block) -> None:
    assert len(block.value) > (2 if block.marker == "needs" else 10)
    for test in re.findall(r"tests/[\w/]+\.py", block.value):
        assert (PROJECT / test).exists(), test


@pytest.mark.parametrize(("page", "text"), NAMED, ids=[f"{page}: {_id(text)}" for page, text in NAMED])
def test_what_a_command_names_exists(page: str, text: str) -> None:
    for words in _verbs(text):
        _check_verb(words)
    for module in re.findall(r"python -m ([\w.]+)", text):
        assert importlib.util.find_spec(module), module
    for target in re.findall(r"(?<![\w-])make ([a-z-]+)", text):
        assert target in TARGETS, target


def _check_verb(words: list[str]) -> None:
    """The verb, its subcommands and its options are there."""
    if words[0].startswith("--"):
        assert words[0] in ("--version", "--help")
        return
    found = VERBS[words[0]].load()
    for word in words[1:]:
        if isinstance(found, click.Group) and not word.startswith("-") and not _VALUE.match(word):
            command = found.get_command(click.Context(found), word)
            assert command is not None, words
            found = command
        elif word.startswith("--"):
            option = word.partition("=")[0]
            assert option == "--help" or any(option in parameter.opts for parameter in found.params), (words, option)
