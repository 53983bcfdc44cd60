"""The drill reads `doctor` line by line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import yaml

from devtools.faults.witnesses import Commands, Logs
from devtools.stack.paths import PROJECT
from tests.builders import some_settings

NOWHERE = "127.0.0.1:1"


async def test_a_line_that_names_the_fault_is_found_and_no_other(tmp_path: Path) -> None:
    settings = {"region": "us", "kafka": NOWHERE, "shards": [f"mongodb://{NOWHERE}/"], "redis": f"redis://{NOWHERE}/0"}
    (tmp_path / "us.yaml").write_text(yaml.safe_dump(settings | {"data_dir": str(tmp_path)}))
    (tmp_path / "categories.yaml").write_bytes((PROJECT / "config" / "categories.yaml").read_bytes())
    commands = Commands(some_settings(), os.environ | {"NOTIFY_CONFIG_DIR": str(tmp_path)})
    line = await commands.doctor_line(lambda text: "Redis at" in text)
    assert line is not None and line.startswith(f"WRONG Redis at redis://{NOWHERE}/0: ")
    assert await commands.doctor_line(lambda text: "region us" in text) is None, "it is not about what is wrong"


def test_a_line_of_a_log_is_shown_by_the_first_line_of_its_message_and_its_action(tmp_path: Path) -> None:
    file = tmp_path / "push-3.log"
    file.write_text("before the fault\n")
    logs = Logs(tmp_path)
    record = {"level": "ERROR", "message": "a batch failed\nTraceback: KeyError", "action": "batch.redeliver"}
    with file.open("a") as log:
        log.write(json.dumps(record) + "\n")
    assert logs.line_with("redeliver") == "push-3: ERROR a batch failed (action=batch.redeliver)"
    assert logs.line_with("before") is None
