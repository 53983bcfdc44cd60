"""The table of docs/operate/faults.md shows what was measured, and nothing of the machine on which it was."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import orjson

from devtools.faults.cases import FAULTS
from devtools.faults.command import NAMES
from devtools.faults.measures import Row
from devtools.faults.table import FIGURES, HEADING, PAGE, measured, text_of, write
from devtools.faults.witnesses import Seen
from devtools.stack.paths import PROJECT

ROW = Row(
    "shard",
    "a shard down",
    page=Seen(8.2, "MongoDB shard 1 at mongodb://127.0.0.1:20001/?replicaSet=us-1 does not respond within 2 s."),
    alert=Seen(12.0, "NotifyShardSilent: 1 MongoDB shards do not answer 127.0.0.1:20010"),
    doctor=None,
    why="waits | for shard 1",
    log=None,
    gone=Seen(12.4, "Everything works."),
    quiet=Seen(20.4, "Everything works."),
    alert_ended=Seen(11.0, "no alert fires"),
    last_hour="MongoDB shard 1",
)


def test_a_row_shows_its_times_and_words_without_addresses() -> None:
    text = measured({"rate_per_s": 20.0, "triggers": 1234, "differences": [], "faults": [ROW.as_json()]})
    assert "| a shard down | 8 | 12 | never | 12 | 20 | 11 |" in text
    assert "20 triggers a second, 1,234 in all; the audit afterwards found 0 differences" in text
    assert "| a shard down | page | MongoDB shard 1 at … does not respond within 2 s. |" in text
    assert "|  | why | waits \\| for shard 1 |" in text and "|  | log | - |" in text
    assert "127.0.0.1" not in text


def test_of_a_log_the_first_line_is_shown_and_not_its_stack() -> None:
    log = f"push-3: ERROR batch.redeliver {'x' * 200}\nTraceback (most recent call last):\n  File"
    row = dataclasses.replace(ROW, log=log).as_json()
    text = measured({"rate_per_s": 20.0, "triggers": 1, "differences": [], "faults": [row]})
    assert f"|  | log | {log[:120]}… |" in text
    assert "Traceback" not in text + text_of(row)


def test_figures_and_page_are_written_and_what_is_before_the_table_is_kept(tmp_path: Path) -> None:
    figures, page = tmp_path / "faults.json", tmp_path / "faults.md"
    page.write_text(f"# Faults\nWords.\n\n{HEADING}\nan older table\n")
    report = {"rate_per_s": 20.0, "triggers": 1234, "differences": [], "faults": [ROW.as_json()]}
    write(report, figures, page)
    assert orjson.loads(figures.read_bytes()) == orjson.loads(orjson.dumps(report))
    assert page.read_text() == f"# Faults\nWords.\n\n{HEADING}{measured(report)}"
    assert FIGURES == PROJECT / "docs/measurements/faults.json"


def test_the_figures_do_not_say_where_the_checkout_was(tmp_path: Path) -> None:
    log = f"standard-3: ERROR failed (error=BatchFailed\n  {PROJECT}/notify_streams/tasks.py:71 stop)"
    report = {
        "rate_per_s": 1.0,
        "triggers": 1,
        "differences": [],
        "faults": [dataclasses.replace(ROW, log=log).as_json()],
    }
    (tmp_path / "faults.md").write_text(HEADING)
    write(report, tmp_path / "faults.json", tmp_path / "faults.md")
    (row,) = orjson.loads((tmp_path / "faults.json").read_bytes())["faults"]
    assert row["log"].endswith("\n  notify_streams/tasks.py:71 stop)")


def test_no_stored_figure_has_the_path_of_a_checkout() -> None:
    for file in FIGURES.parent.glob("*.json"):
        assert re.findall(r"/[\w./-]*/(?:notify_streams|devtools)/[\w/]+\.py", file.read_text()) == [], file.name


def test_the_page_names_every_fault() -> None:
    rows = [line for line in PAGE.read_text().partition(HEADING)[0].splitlines() if line.startswith("| ")]
    titles = [row.split(" | ")[0].removeprefix("| ") for row in rows[1:]]
    assert titles == [one.title for one in FAULTS]
    for fault, row in zip(FAULTS, rows[1:], strict=True):
        assert any(f"[{alert}]" in row for alert in fault.alerts)


def test_the_page_has_a_place_for_it() -> None:
    assert HEADING in PAGE.read_text()


def test_the_command_names_every_fault_in_its_order() -> None:
    assert list(NAMES) == [one.name for one in FAULTS]
