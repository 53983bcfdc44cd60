"""The progress of `tables rebuild`: one line that changes on a terminal, few lines elsewhere."""

from __future__ import annotations

import sys

import pytest

from notify_streams.admin.table_rebuild import Rebuilt
from notify_streams.cli.tables import Progress


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    progress = Progress(8)
    for bucket in range(3):
        for _ in range(30):
            progress.show("contacts", bucket, Rebuilt(published=400, unchanged=500, removed=100))
    progress.end()
    out, err = capsys.readouterr()
    assert out == ""
    return err


def test_elsewhere_it_is_a_line_for_each_50_000_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys) == "contacts, bucket 2 of 8: 50000 rows read\n"


def test_on_a_terminal_it_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    text = shown(capsys)
    assert (text.count("\n"), text.count("\r")) == (1, 90)
    assert text.endswith("contacts, bucket 3 of 8: 90000 rows read\n")
