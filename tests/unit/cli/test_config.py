"""`notify-streams config check`: what is wrong is also JSON."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from devtools.stack.paths import PROJECT
from notify_streams.cli.main import main

WRONG = {
    "a setting": ({"NOTIFY_PARTITIONS": "many"}, "partitions"),
    "a system of a category": ({"NOTIFY_TRIGGER_SYSTEMS": "[other]"}, "trigger_systems"),
}


@pytest.mark.parametrize(("environ", "says"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_one_json_object_and_an_error(environ: dict[str, str], says: str) -> None:
    environ = {"NOTIFY_CONFIG_DIR": str(PROJECT / "config"), **environ}
    done = CliRunner().invoke(main, ["config", "check", "--json"], env=environ)
    found = json.loads(done.stdout)
    assert done.exit_code == 1 and says in done.stderr
    assert (found["holds"], found["region"]) == (False, "us") and says in found["problems"][0]
    without = CliRunner().invoke(main, ["config", "check"], env=environ)
    assert (without.exit_code, without.stdout) == (1, "") and says in without.stderr
