"""The words of `old_words.txt` appear nowhere: code, comments, messages, docs, settings."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.unit.architecture.source_tree import PROJECT, module_files

LIST = Path(__file__).with_name("old_words.txt")
TEXTS = (".py", ".md", ".cfg", ".toml", ".yaml", ".yml", ".html", ".env", ".template", "Makefile", "Dockerfile", "run")
LOCKED = ("jars.yaml",)


def old_words() -> list[str]:
    return [line for line in LIST.read_text().splitlines() if line and not line.startswith("#")]


def pattern(words: list[str]) -> re.Pattern[str]:
    """Whole words; a word with a capital letter matches only as it is written."""
    return re.compile("|".join(rf"(?<!\w){word if word != word.lower() else f'(?i:{word})'}(?!\w)" for word in words))


def texts() -> list[Path]:
    """Every text file of the repository, new ones included."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    files = [PROJECT / name for name in listed.stdout.splitlines()]
    return [
        file
        for file in files
        if file.is_file() and file.name.endswith(TEXTS) and file.name not in LOCKED and file.parent != LIST.parent
    ]


def test_old_words_appear_nowhere() -> None:
    old = pattern(old_words())
    found = [
        f"{file.relative_to(PROJECT)}:{number}: {match[0]}"
        for file in texts()
        for number, line in enumerate(file.read_text().splitlines(), start=1)
        for match in old.finditer(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("class WayOut:", True),
        ("it has been taken", False),
        ("self.way_out.submit()", True),
        ("Who was Told", True),
        ("returns", False),
    ],
)
def test_a_word_is_found_as_a_whole(text: str, found: bool) -> None:
    assert bool(pattern(["WayOut", "Taken", "way_outs?", "told", "turns"]).search(text)) is found


def test_module_first_lines_are_short_and_differ() -> None:
    firsts: dict[str, str] = {}
    wrong = []
    for name, file in module_files().items():
        text = file.read_text()
        if not text:
            continue
        first = text.splitlines()[0]
        if name != "notify_streams" and (not first.startswith('"""') or len(first.strip('"')) > 80):
            wrong.append(f"{name}: {first}")
        elif first in firsts:
            wrong.append(f"{name}: the same first line as {firsts[first]}")
        firsts[first] = name
    assert wrong == []
