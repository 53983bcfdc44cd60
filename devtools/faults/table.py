"""The part of docs/operate/faults.md that shows what was measured."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from devtools.stack.paths import PROJECT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PAGE: Final = PROJECT / "docs" / "operate" / "faults.md"
FIGURES: Final = PROJECT / "docs" / "measurements" / "faults.json"
#: Begins the part that is written here; all before it is kept.
HEADING: Final = "## Measured\n"
_COLUMNS: Final = ("page", "alert", "doctor", "gone", "quiet", "alert_ended")
_ADDRESS: Final = re.compile(r"(mongodb://)?127\.0\.0\.1:\d+(,127\.0\.0\.1:\d+)*(/[\w?=&.-]*)?")
_SHOWN_CHARACTERS: Final = 240
_LOG_CHARACTERS: Final = 120


def write(report: Mapping[str, Any], figures: Path = FIGURES, page: Path = PAGE) -> None:
    """Replace the figures, and the part of the page that shows them. Files are named from the checkout on."""
    text = orjson.dumps(report, option=orjson.OPT_INDENT_2).replace(f"{PROJECT}/".encode(), b"")
    figures.write_bytes(text + b"\n")
    before, _, _ = page.read_text().partition(HEADING)
    page.write_text(before + HEADING + measured(report))


def measured(report: Mapping[str, Any]) -> str:
    """The table of times and the words of each witness, as Markdown."""
    rows = report["faults"]
    lines = [
        "",
        f"{report['rate_per_s']:g} triggers a second, {report['triggers']:,} in all; the audit afterwards found "
        f"{len(report['differences'])} differences. Seconds after the fault began, and after it ended.",
        "",
        "| fault | page | alert | doctor | page: gone | page: quiet | alert ended |",
        "|---|---|---|---|---|---|---|",
        *(f"| {row['title']} | " + " | ".join(_seconds(row[name]) for name in _COLUMNS) + " |" for row in rows),
        "",
        "| fault | witness | says |",
        "|---|---|---|",
    ]
    for row in rows:
        lines += [
            f"| {row['title'] if witness == 'page' else ''} | {witness} | {_cell(text, witness)} |"
            for witness, text in _says(row).items()
        ]
    return "\n".join(lines) + "\n"


def text_of(row: Mapping[str, Any]) -> str:
    """A row of the report as text for a terminal."""
    times = ", ".join(f"{name.replace('_', ' ')} {_seconds(row[name])}" for name in _COLUMNS)
    lines = [f"{'holds' if row['holds'] else 'MISSES':<7}{row['title']:<20} {times}"]
    lines += [f"       {witness:<10} {' | '.join((text or '-').splitlines())}" for witness, text in _says(row).items()]
    return "\n".join([*lines, *(f"       MISSES     {one}" for one in row["misses"])])


def _says(row: Mapping[str, Any]) -> dict[str, str | None]:
    """The words of each witness; of the log the first line, without a stack."""
    said = {name: row[name] and row[name]["text"] for name in ("page", "alert", "doctor")}
    log = row["log"] and row["log"].partition("\n")[0]
    return {**said, "why": row["why"], "log": log, "last hour": row["last_hour"]}


def _seconds(seen: Mapping[str, Any] | None) -> str:
    return "never" if seen is None else f"{seen['after_s']:.0f}"


def _cell(text: str | None, witness: str) -> str:
    """One line without addresses, which differ from run to run."""
    short = _ADDRESS.sub("…", " ".join((text or "-").split()))
    limit = _LOG_CHARACTERS if witness == "log" else _SHOWN_CHARACTERS
    shown = short if len(short) <= limit else f"{short[:limit]}…"
    return shown.replace("|", "\\|").replace("<", "&lt;")
