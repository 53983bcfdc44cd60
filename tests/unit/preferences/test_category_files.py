"""What a category file may say, and that a wrong one is refused with the line to look at."""

from pathlib import Path
from typing import Any

import pytest

from notify_streams.errors import SettingsError
from notify_streams.preferences.categories import (
    Category,
    Default,
    channels_of_templates,
    check_systems,
    choices_named,
    load_categories,
)
from notify_streams.preferences.row_codec import IN, OUT, UNSET
from notify_streams.records.outcomes import Reason
from tests.unit.preferences.preference_builders import the_categories

GOOD = """\
payments:
  number: 1
  systems: [payments, shop]
  channels: {push: in, sms: out}
  templates:
    [paid, failed]
marketing:
  number: 2
  systems: [marketing]
  channels:
    email: out
"""

WRONG = {
    "unknown channel": ("email: out", "fax: out", 11, "email, push, sms"),
    "unknown default": ("email: out", "email: maybe", 10, "always, in, out"),
    "a YAML truth": ("email: out", "email: off", 10, "channels"),
    "unknown field": ("number: 2", "number: 2\n  colour: red", 9, "colour"),
    "no number": ("number: 2", "ttl_s: 5", 7, "number"),
    "number too high": ("number: 2", "number: 240", 8, "239"),
    "time to live of nothing": ("number: 2", "number: 2\n  ttl_s: 0", 9, "ttl_s"),
    "time to live beyond all dates": ("number: 2", "number: 2\n  ttl_s: 1000000000000", 9, "ttl_s"),
    "number taken": ("number: 2", "number: 1", 7, "payments"),
    "title without a default": ("number: 2", "number: 2\n  title: {de: Werbung}", 7, "'en'"),
    "title of nothing": ("number: 2", 'number: 2\n  title: {en: ""}', 9, "title"),
    "no channel": ("channels:\n    email: out", "channels: {}", 7, "no channel"),
    "category twice": ("marketing:", "payments:", 7, "twice"),
    "channel twice": ("email: out", "email: out\n    email: in", 12, "twice"),
    "name is a number": ("marketing:", "7:", 7, "quotes"),
    "name is a YAML truth": ("marketing:", "yes:", 7, "'yes': the name must be a text; put it in quotes"),
    "name is nothing": ("marketing:", "~:", 7, "quotes"),
    "names of a merged mapping": ("marketing:", "<<: {news: {number: 3}}\nmarketing:", 7, "quotes"),
    "template twice": ("[paid, failed]", "[paid, paid]", 1, "twice"),
    "template with its text": ("[paid, failed]", "{paid: {title: Paid, body: You got it}}", 5, "templates"),
    "no system": ("systems: [marketing]", "systems: []", 9, "systems"),
    "no systems": ("  systems: [marketing]\n", "", 7, "systems"),
    "blank at a name's end": ("marketing:", '"marketing ":', 7, "blank"),
    "name for everything": ("marketing:", '"*":', 7, "stands for all"),
    "name too long": ("marketing:", "m" * 129 + ":", 7, "128"),
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


@pytest.mark.parametrize(
    "text", ["", "[]", "just words", "a: [unclosed", "a: {ttl_s: 2026-13-45}", "a: &all {b: *all}", "[" * 2_000]
)
def test_what_is_no_category_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "categories.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=r"categories\.yaml"):
        load_categories(file)


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "categories.yaml"
    file.write_bytes(GOOD.replace("[paid, failed]", "[bezahlt, zurückgezahlt]").encode("latin-1"))
    with pytest.raises(SettingsError, match=r"categories\.yaml is not UTF-8, from byte \d+ on"):
        load_categories(file)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_categories(tmp_path / "nowhere.yaml")


def test_a_good_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "categories.yaml"
    file.write_text(GOOD)
    categories = load_categories(file)
    assert categories["marketing"] == Category(
        number=2, systems=frozenset({"marketing"}), channels={"email": Default.OUT}
    )
    assert channels_of_templates(categories) == {"paid": {"push", "sms"}, "failed": {"push", "sms"}}


def test_a_system_that_no_topic_belongs_to_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "categories.yaml"
    file.write_text(GOOD)
    check_systems(load_categories(file), ("marketing", "payments", "shop", "more"))
    with pytest.raises(SettingsError, match="'payments': 'shop' is not among `trigger_systems`"):
        check_systems(load_categories(file), ("marketing", "payments"))


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
    category = Category(number=1, systems=frozenset({"x"}), channels={"sms": default})
    assert category.refusal("sms", chosen) is reason
    assert category.refusal("push", chosen) is Reason.CHANNEL_NOT_ALLOWED


@pytest.mark.parametrize(
    ("category", "channel", "named"),
    [
        ("payments", "push", {("payments", "push")}),
        ("security", "push", {("security", "push")}),
        ("security", "*", {("security", "sms")}),
        ("*", "push", {("payments", "push"), ("marketing", "push")}),
        ("*", "sms", {("payments", "sms"), ("security", "sms")}),
        ("spam", "*", set()),
    ],
)
def test_a_star_names_what_can_be_turned_off(category: str, channel: str, named: set[tuple[str, str]]) -> None:
    assert set(choices_named(the_categories(), category, channel)) == named
