"""Categories: what may be sent at all, and what a person's silence means. Read from ``config/categories.yaml`` and checked at start."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import yaml

from notify_streams.errors import SettingsError
from notify_streams.preferences.compiled import OUT, UNSET, choice
from notify_streams.records.reasons import Reason
from notify_streams.roles import CHANNELS, Channel

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Default(StrEnum):
    """What holds for a channel when a person chose nothing."""

    IN = "in"
    OUT = "out"
    #: Sent whatever the person chose.
    ALWAYS = "always"


class Template(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text whose ``{names}`` are replaced from the trigger's data."""

    title: str
    body: str


class Category(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One category's policy. `number` identifies it in stored preferences for ever."""

    number: Annotated[int, msgspec.Meta(ge=0, le=255)]
    channels: dict[Channel, Default]
    critical: bool = False
    ttl_s: Annotated[int, msgspec.Meta(gt=0)] = 86_400
    templates: dict[str, Template] = {}

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


def load_categories(file: Path) -> Categories:
    """Read and check the categories.

    Raises:
        SettingsError: naming the file, the line and what is wrong.
    """
    try:
        text = file.read_text()
        content = yaml.safe_load(text)
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{file}: {error}") from error
    if not isinstance(content, dict) or not content:
        raise SettingsError(f"{file} must hold at least one category")
    lines = _lines(text)
    categories: Categories = {}
    taken: dict[int, str] = {}
    for name, values in content.items():
        where = f"{file}, line {lines.get(str(name), 1)}, category {name!r}"
        category = _read(where, values)
        if other := taken.get(category.number):
            raise SettingsError(f"{where}: number {category.number} already belongs to {other!r}")
        if not category.channels:
            raise SettingsError(f"{where}: allows no channel; name at least one of {', '.join(CHANNELS)}")
        taken[category.number] = str(name)
        categories[str(name)] = category
    return categories


def _read(where: str, values: object) -> Category:
    try:
        return msgspec.convert(values, Category)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{where}: {error}") from error


def _lines(text: str) -> Mapping[str, int]:
    root: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    return {key.value: key.start_mark.line + 1 for key, _ in root.value}
