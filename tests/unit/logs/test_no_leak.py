"""The plugin that reads the logs of the suite is red when a line shows a contact, a token or a sender's text."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from notify_streams.records.trigger import Rejection, read_trigger
from notify_streams.records.user_records import read_contacts, read_preference_update
from notify_streams.rejections import reject
from tests.log_leaks import SENDERS_TEXT, leaks, leaks_below

LEAKS = [
    pytest.param("to +15551234567: failed", id="a number"),
    pytest.param('{"error": "no such user u-42@example.org"}', id="an address"),
    pytest.param("token-u-42 is dead", id="a push token"),
    pytest.param(f'{{"detail": "Invalid value {SENDERS_TEXT}"}}', id="a text"),
    pytest.param("GET /unsubscribe/gAAAAABk1234567890abcdefghijklmnop", id="a link"),
    pytest.param("Authorization: Bearer 0123456789abcdef", id="a bearer token"),
]
CLEAN = [
    '{"at": "2026-11-28T20:00:00.000+00:00", "level": "WARNING", "logger": "notify_streams.retry"}',
    "Kafka at 127.0.0.1:9092 does not answer",
    "partition triggers.payments-3: the token of the ledger was replaced",
    "/work/lib/python3.11/site-packages/aiokafka/conn.py:512 _read",
]


@pytest.mark.parametrize("line", LEAKS)
def test_a_leak_is_found(line: str) -> None:
    assert len(leaks([line])) == 1


def test_what_workers_usually_log_is_no_leak() -> None:
    assert leaks(CLEAN) == []


def test_the_logs_of_workers_are_read_and_those_of_services_are_not(tmp_path: Path) -> None:
    (tmp_path / "workers").mkdir()
    (tmp_path / "us.yaml").write_text("web_read_token: 0123456789abcdef\nproviders: {smtp_username: name}\n")
    line = '{"level":"INFO","logger":"x","message":"%s"}\n'
    log = tmp_path / "workers" / "push.log"
    (tmp_path / "mongod.log").write_text('{"t": "a@example.org"}\n')
    log.write_text(line % "started")
    assert leaks_below(tmp_path) == []
    log.write_text(line % "started" + "0123456789abcdef\n" + "Traceback: a@example.org\n")
    assert len(leaks_below(tmp_path)) == 2
    log.unlink()  # the plugin reads this folder, too


@pytest.mark.parametrize(("shown", "status"), [("a@example.org", 1), ("an address", 0)])
def test_a_test_that_logs_a_contact_fails(tmp_path: Path, shown: str, status: int) -> None:
    file = tmp_path / "test_one.py"
    file.write_text(
        "import logging\n\n\ndef test_one() -> None:\n"
        f"    logging.getLogger('notify_streams.x').warning('failed', extra={{'to': '{shown}'}})\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "tests.log_leak_plugin",
            "-c",
            os.devnull,
            "--rootdir",
            tmp_path,
            file,
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == status, done.stdout
    assert ("a mail address" in done.stdout) is bool(status)


@pytest.mark.parametrize("value", ["+15551234567", 'it\'s "a@example.org"', SENDERS_TEXT])
def test_a_rejected_record_does_not_show_what_its_sender_wrote(value: str, caplog: pytest.LogCaptureFixture) -> None:
    quoted = value.replace('"', '\\"')
    records = (
        read_preference_update(
            f'{{"user_id":"u","category":"c","channel":"{quoted}","opted_in":true,"updated_at":"2026-11-22T10:00:00Z"}}'.encode(),
            0,
        ),
        read_contacts(f'{{"user_id":"u","updated_at":"{quoted}","sms":7}}'.encode(), 0, b"u"),
        read_trigger(f'{{"id":"t","user_id":"u","category":"c","channels":["{quoted}"]}}'.encode(), ()),
    )
    for number, record in enumerate(records):
        assert isinstance(record, Rejection)
        reject("user_contacts", number, record)
    shown = " ".join(str(vars(one)) for one in caplog.records)
    assert value not in shown and "`channels[0]` must be" in shown
