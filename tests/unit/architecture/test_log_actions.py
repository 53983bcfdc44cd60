"""Log lines: each `action` is unique and has the form object.verb."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.unit.architecture.source_tree import PROJECT, module_files

FORM = re.compile(r"[a-z][a-z_]*\.[a-z][a-z_]*")


def actions(file: Path) -> Iterator[tuple[str, str]]:
    """Each `"action": value` of a dictionary as (value, place)."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "action":
                    text = value.value if isinstance(value, ast.Constant) else ast.unparse(value)
                    yield str(text), f"{file.relative_to(PROJECT)}:{value.lineno}"


def test_each_action_has_the_form_object_verb_and_one_place() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for file in module_files().values():
        for action, place in actions(file):
            places[action].append(place)
    assert places
    assert {action: found for action, found in places.items() if not FORM.fullmatch(action) or len(found) > 1} == {}
