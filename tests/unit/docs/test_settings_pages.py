"""Every setting is named on a page of docs/deploy or docs/operate."""

from __future__ import annotations

import re
from types import UnionType
from typing import TYPE_CHECKING, Any, get_args, get_origin

import msgspec
import pytest

from devtools.stack.paths import PROJECT
from notify_streams.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = sorted([*(PROJECT / "docs/deploy").glob("*.md"), *(PROJECT / "docs/operate").glob("*.md")])
TEXT = "\n".join(page.read_text() for page in PAGES)


def group_of(kind: Any) -> type[msgspec.Struct] | None:
    parts = get_args(kind) if get_origin(kind) is UnionType else (kind,)
    return next((one for one in parts if isinstance(one, type) and issubclass(one, msgspec.Struct)), None)


def names(kind: type[msgspec.Struct], path: str = "") -> Iterator[str]:
    for field in msgspec.structs.fields(kind):
        if (group := group_of(field.type)) is None:
            yield path + field.name
        else:
            yield from names(group, f"{path}{field.name}.")


@pytest.mark.parametrize("name", sorted(names(Settings)))
def test_a_setting_has_a_place_where_it_is_explained(name: str) -> None:
    last = re.escape(name.rpartition(".")[2])
    assert re.search(rf"`[^`\n]*\b{last}\b[^`\n]*`|^ *{last}:", TEXT, re.MULTILINE), name
