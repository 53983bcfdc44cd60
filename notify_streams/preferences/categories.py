"""Categories: what may be sent at all, and what a person's silence means. Read from ``config/categories.yaml`` and checked at start."""

from __future__ import annotations

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import msgspec
import yaml

from notify_streams.errors import SettingsError
from notify_streams.preferences.row_codec import OUT, UNSET, choice
from notify_streams.records.outcomes import Reason
from notify_streams.roles import CHANNELS, Channel


class Default(StrEnum):
    """What holds for a channel when a person chose nothing."""

    IN = "in"
    OUT = "out"
    #: Sent whatever the person chose.
    ALWAYS = "always"


class TemplateText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text whose ``{names}`` are replaced from the trigger's data."""

    title: str
    body: str


class Category(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One category's policy. `number` identifies it in stored preferences for ever."""

    number: Annotated[int, msgspec.Meta(ge=0, le=255)]
    channels: dict[Channel, Default]
    critical: bool = False
    ttl_s: Annotated[int, msgspec.Meta(gt=0)] = 86_400
    templates: dict[str, TemplateText] = {}

    def refusal(self, channel: Channel, bits: int) -> Reason | None:
        """Why `channel` may not be used for a person with these choices (`compiled.choice`), or None if it may."""
        default = self.channels.get(channel)
        if default is None:
            return Reason.CHANNEL_NOT_ALLOWED
        if default is Default.ALWAYS:
            return None
        chosen = choice(bits, channel)
        if chosen == OUT:
            return Reason.OPTED_OUT
        if chosen == UNSET and default is Default.OUT:
            return Reason.NOT_OPTED_IN
        return None


Categories = dict[str, Category]

#: Every value that a category's two bits a channel can take.
ALL_BITS: Final = range(1 << 2 * len(CHANNELS))


def configured_categories() -> Categories:
    """The categories of ``categories.yaml`` in ``config/``, or where ``NOTIFY_CONFIG_DIR`` says; raises as `load_categories` does."""
    return load_categories(Path(os.environ.get("NOTIFY_CONFIG_DIR", "config")) / "categories.yaml")


def load_categories(file: Path) -> Categories:
    """Read and check the categories.

    Raises:
        SettingsError: naming the file, the line and what is wrong.
    """
    try:
        text = file.read_text()
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{file}: {error}") from error
    if not isinstance(content, dict) or not content or root is None:
        raise SettingsError(f"{file} must hold at least one category")
    lines = _lines_of(file, root)
    categories: Categories = {}
    taken: dict[int, str] = {}
    for name, values in content.items():
        here = f"{file}, line {lines[(str(name),)]}, category {name!r}"
        if not isinstance(name, str):
            raise SettingsError(f"{here}: the name must be a text; put it in quotes")
        category = _read(file, name, values, lines)
        if other := taken.get(category.number):
            raise SettingsError(f"{here}: number {category.number} already belongs to {other!r}")
        if not category.channels:
            raise SettingsError(f"{here}: allows no channel; name at least one of {', '.join(CHANNELS)}")
        for template, texts in category.templates.items():
            where = f"{file}, line {lines[(name, 'templates', template)]}, category {name!r}, template {template!r}"
            _check_placeholders(where, f"{texts.title} {texts.body}")
        taken[category.number] = name
        categories[name] = category
    return categories


#: The line (1 is the first) of each key, by its path from the root.
_Lines = dict[tuple[str, ...], int]
_PLACEHOLDER: Final = re.compile(r"\{\w+\}")
_NAMED: Final = re.compile(r"(?:unknown field `|Invalid enum value ')([^`']+)")
_PLACE: Final = re.compile(r" - at `(?:key` in `)?\$([^`]*)`$")


def _read(file: Path, name: str, values: object, lines: _Lines) -> Category:
    try:
        return msgspec.convert(values, Category)
    except msgspec.ValidationError as error:
        text = str(error)
        path = (name, *(_PLACE.findall(text) or [""])[0].replace("[...]", "").strip(".").split("."))
        path += tuple(_NAMED.findall(text))
        path = tuple(filter(None, path))
        line = next(lines[path[:length]] for length in range(len(path), 0, -1) if path[:length] in lines)
        raise SettingsError(f"{file}, line {line}, category {name!r}: {text}") from error


def _check_placeholders(where: str, text: str) -> None:
    rest = _PLACEHOLDER.sub("", text)
    if "{" in rest or "}" in rest:
        raise SettingsError(
            f"{where}: a brace is part of a placeholder such as {{amount}}: a plain name of the trigger's data"
        )


def _lines_of(file: Path, node: yaml.Node, path: tuple[str, ...] = ()) -> _Lines:
    lines: _Lines = {}
    if not isinstance(node, yaml.MappingNode):
        return lines
    for key, value in node.value:
        here = (*path, str(key.value))
        line = key.start_mark.line + 1
        if here in lines:
            raise SettingsError(
                f"{file}, line {line}: {key.value!r} is there twice; the first is in line {lines[here]}"
            )
        lines[here] = line
        lines |= _lines_of(file, value, here)
    return lines
