"""`notify-streams templates`: the project's own templates hold, and each fault is a line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from devtools.stack.paths import PROJECT
from notify_streams.cli.main import main

OFFER = Path("templates") / "offer"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    folder = tmp_path / "config"
    shutil.copytree(PROJECT / "config", folder)
    return folder


def invoke(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["templates", *arguments], env={"NOTIFY_CONFIG_DIR": str(config)})


def test_the_projects_own_templates_hold() -> None:
    done = invoke(PROJECT / "config", "check", "--json")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["holds"], found["problems"]) == (0, True, [])
    assert {one["locale"] for one in found["templates"]} == {"en", "de", "ar"}
    assert len(found["templates"]) == 15


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no sample": (lambda folder: (folder / "sample.json").unlink(), "sample.json does not exist"),
    "a sample that is no object": (
        lambda folder: (folder / "sample.json").write_text("[]"),
        "must be an object, found a list",
    ),
    "a sample without a value": (lambda folder: (folder / "sample.json").write_text("{}"), "en, push: a template does"),
    "another variable in one locale": (
        lambda folder: (folder / "de" / "email.txt").write_text("{{ offer }}{{ price }}"),
        "de/email.txt: days, preferences_url, price, unsubscribe_url is not used as in en",
    ),
    "a title that is too long": (
        lambda folder: (folder / "de" / "push.title.txt").write_text("ü" * 2100),
        "de, push: the text is too long",
    ),
    "a push body that is too large": (
        lambda folder: (folder / "de" / "push.body.txt").write_text("{{ offer }}{{ days|d }}" + "ü" * 2100),
        "bytes of title and body, a push has at most 4096",
    ),
    "a template of no category": (
        lambda folder: shutil.copytree(folder, folder.with_name("offers")),
        "offers: no category names this template",
    ),
    "a missing channel": (lambda folder: (folder / "ar" / "email.html").unlink(), "ar: email.html is missing"),
}


@pytest.mark.parametrize(("break_it", "says"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_named(config: Path, break_it: Callable[[Path], Any], says: str) -> None:
    break_it(config / OFFER)
    done = invoke(config, "check")
    assert done.exit_code == 1
    assert says in done.output and "Traceback" not in done.output


def test_a_preview_is_what_a_person_reads(config: Path, tmp_path: Path) -> None:
    done = invoke(config, "preview", "offer", "--locale", "de-AT", "--json")
    assert json.loads(done.stdout)["texts"]["push"] == {
        "title": "Ein Angebot für Sie",
        "body": "20 % off all teas (noch 3 Tage)",
        "html": None,
        "version": json.loads(done.stdout)["version"],
    }
    data = tmp_path / "data.json"
    data.write_text('{"offer": "<b>tea</b>"}')
    done = invoke(config, "preview", "offer", "--channel", "email", "--data", str(data))
    assert done.exit_code == 0
    assert "/preferences/TOKEN" in done.stdout and "/unsubscribe/TOKEN" in done.stdout
    assert "<b>tea</b>" in done.stdout and "&lt;b&gt;tea&lt;/b&gt;" in done.stdout and "-- push" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nope",), "no category has a template 'nope'; there are: new_device"),
        (("offer", "--channel", "sms"), "no category sends 'offer' by sms"),
        (("offer", "--data", "us.yaml"), "is not a JSON object"),
    ],
)
def test_a_preview_that_is_not_possible_is_a_sentence(config: Path, arguments: tuple[str, ...], says: str) -> None:
    done = invoke(config, "preview", *(str(config / one) if one.endswith("yaml") else one for one in arguments))
    assert done.exit_code == 1 and says in done.output and "Traceback" not in done.output
