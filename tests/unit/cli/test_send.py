"""`send` refuses a file that is not JSON lines before it sends anything, and names triggers that cannot be used."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from notify_streams.cli.main import main

TRIGGER = {"id": "t-1", "user_id": "ada", "category": "payments", "template": "payment_received"}
LINE = json.dumps(TRIGGER).encode()


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"not json\n", 1),
        (LINE + b"\n\n[]\n", 3),
        (json.dumps(TRIGGER, indent=2).encode(), 1),
        (LINE + b"\n" + LINE + b"}\n", 2),
        (LINE + b"\n" + b'{"id": "\xff"}', 2),
        (LINE + b"\n\xef\xbb\xbf" + LINE, 2),
        (b'{"a":' * 100_000, 1),
    ],
    ids=["a word", "a list", "over several lines", "two ends", "not UTF-8", "a mark in the middle", "deep"],
)
def test_a_line_that_is_no_object_is_named_and_nothing_is_sent(tmp_path: Path, content: bytes, line: int) -> None:
    file = tmp_path / "triggers.jsonl"
    file.write_bytes(content)
    done = CliRunner().invoke(main, ["send", str(file)], env={"NOTIFY_CONFIG_DIR": "config"})
    assert done.exit_code == 1
    assert done.output == f"Error: {file}:{line}: not a JSON object; write one trigger a line. Nothing was sent\n"


def test_a_trigger_that_cannot_be_used_is_named_with_its_line(tmp_path: Path) -> None:
    """It is sent nevertheless: here a later line stops all of them."""
    file = tmp_path / "triggers.jsonl"
    bad = json.dumps(TRIGGER | {"channels": ["fax"]}).encode()
    file.write_bytes(LINE + b"\n" + bad + b"\n" + b"{}\n" * 25 + b"end")
    done = CliRunner().invoke(main, ["send", str(file)], env={"NOTIFY_CONFIG_DIR": "config"})
    first, second, *_, last = done.output.splitlines()
    assert first == f"{file}:2: `channels[0]` must be one of email, push, sms; it ends as a dead letter (invalid)"
    assert second == f"{file}:3: `user_id` is missing; it ends as a dead letter (invalid)"
    assert last.startswith(f"Error: {file}:28: not a JSON object") and len(done.output.splitlines()) == 21
