"""Finds contacts, tokens and senders' texts in log lines. Tests use those that are recognised here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import yaml

#: Part of each text that `tests.builders` lets a sender write.
SENDERS_TEXT: Final = "sender-text-7c1e"
_PATTERNS: Final = {
    "a phone number": re.compile(r"(?<![\w.:+-])\+[1-9][0-9]{7,14}(?![0-9])"),
    "a mail address": re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+"),
    "a push token": re.compile(r"(?<![\w-])token-[\w-]+"),
    "a bearer token": re.compile(r"(?i)bearer [\w.~+/-]{8,}"),
    "a link token": re.compile(r"gAAAA[\w-]{20,}"),
    "a sender's text": re.compile(SENDERS_TEXT),
}
#: Names of settings whose values no line may show.
_SECRET: Final = re.compile(r"(?:token|password|secret|_key|keys)s?$")


def leaks(lines: Iterable[str], secrets: Iterable[str] = ()) -> list[str]:
    """What each line shows that it must not, with the line."""
    found = []
    for line in lines:
        found += [f"{what}: {line[:600]}" for what, pattern in _PATTERNS.items() if pattern.search(line)]
        found += [f"a secret of the settings: {line[:600]}" for secret in secrets if secret in line]
    return found


def worker_logs(folder: Path) -> Iterator[Path]:
    """The log files of workers below a folder: their first line of JSON has a logger."""
    for file in folder.rglob("*.log"):
        with file.open(errors="replace") as log:
            if any(line.startswith("{") and '"logger":' in line for line, _ in zip(log, range(50), strict=False)):
                yield file


def leaks_below(folder: Path) -> list[str]:
    """Those of all log files of workers below a folder."""
    files = list(worker_logs(folder))
    secrets = secrets_below(folder) if files else set()
    return [
        f"{file.name}: {leak}"
        for file in files
        for leak in leaks(file.read_text(errors="replace").splitlines(), secrets)
    ]


def secrets_below(folder: Path) -> set[str]:
    """The values of the secret settings that a stack wrote."""

    def of(value: object, name: str) -> Iterator[str]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from of(inner, str(key))
        elif isinstance(value, list):
            for inner in value:
                yield from of(inner, name)
        elif isinstance(value, str) and _SECRET.search(name) and len(value) >= 12:
            yield value

    return {one for file in folder.glob("*.yaml") for one in of(yaml.safe_load(file.read_text()), "")}
