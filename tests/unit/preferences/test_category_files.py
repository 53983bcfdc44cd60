"""What a category file may say, and that a wrong one is refused with the line to look at."""

from pathlib import Path
from typing import Any

import pytest

from notify_streams.errors import SettingsError
from notify_streams.preferences.categories import Category, Default, load_categories
from notify_streams.preferences.row_codec import IN, OUT, UNSET
from notify_streams.records.outcomes import Reason
from tests.unit.preferences.preference_builders import the_categories

GOOD = """\
payments:
  number: 1
  channels: {push: in, sms: out}
  templates:
    paid: {title: "Paid", body: "You got {amount}."}
marketing:
  number: 2
  channels:
    email: out
"""

WRONG = {
    "unknown channel": ("email: out", "fax: out", 9, "fax"),
    "unknown default": ("email: out", "email: maybe", 8, "maybe"),
    "a YAML truth": ("email: out", "email: off", 8, "channels"),
    "unknown field": ("number: 2", "number: 2\n  colour: red", 8, "colour"),
    "no number": ("number: 2", "ttl_s: 5", 6, "number"),
    "number too high": ("number: 2", "number: 256", 7, "255"),
    "time to live of nothing": ("number: 2", "number: 2\n  ttl_s: 0", 8, "ttl_s"),
    "number taken": ("number: 2", "number: 1", 6, "payments"),
    "no channel": ("channels:\n    email: out", "channels: {}", 6, "no channel"),
    "category twice": ("marketing:", "payments:", 6, "twice"),
    "channel twice": ("email: out", "email: out\n    email: in", 10, "twice"),
    "name is a number": ("marketing:", "7:", 6, "quotes"),
    "lost brace": ("{amount}", "{amount", 5, "brace"),
    "format in a placeholder": ("{amount}", "{amount:>9}", 5, "plain name"),
    "template without body": (', body: "You got {amount}."', "", 4, "body"),
}


@pytest.mark.parametrize(("good", "wrong", "line", "says"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_file_names_the_line(tmp_path: Path, good: Any, wrong: Any, line: Any, says: Any) -> None:
    assert good in GOOD
    file = tmp_path / "categories.yaml"
    file.write_text(GOOD.replace(good, wrong))
    with pytest.raises(SettingsError) as refused:
        load_categories(file)
    assert f"{file}, line {line}" in str(refused.value)
    assert says in str(refused.value)


@pytest.mark.parametrize("text", ["", "[]", "just words", "a: [unclosed"])
def test_what_is_no_category_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "categories.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=r"categories\.yaml"):
        load_categories(file)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_categories(tmp_path / "nowhere.yaml")


def test_a_good_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "categories.yaml"
    file.write_text(GOOD)
    categories = load_categories(file)
    assert categories["marketing"] == Category(number=2, channels={"email": Default.OUT})
    assert categories["payments"].templates["paid"].body == "You got {amount}."


def test_the_project_s_own_file_is_good() -> None:
    assert {name: category.number for name, category in the_categories().items()} == {
        "payments": 1,
        "marketing": 2,
        "security": 3,
    }


@pytest.mark.parametrize(
    ("default", "chosen", "reason"),
    [
        (Default.IN, UNSET, None),
        (Default.IN, IN, None),
        (Default.IN, OUT, Reason.OPTED_OUT),
        (Default.OUT, UNSET, Reason.NOT_OPTED_IN),
        (Default.OUT, IN, None),
        (Default.OUT, OUT, Reason.OPTED_OUT),
        (Default.ALWAYS, OUT, None),
    ],
)
def test_a_choice_meets_the_default(default: Any, chosen: Any, reason: Any) -> None:
    category = Category(number=1, channels={"sms": default})
    assert category.refusal("sms", chosen) is reason
    assert category.refusal("push", chosen) is Reason.CHANNEL_NOT_ALLOWED
