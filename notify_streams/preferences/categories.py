"""Categories: what may be sent where (`config/categories.yaml`)."""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import yaml

from notify_streams.errors import SettingsError
from notify_streams.field_errors import problem_of
from notify_streams.preferences.row_codec import OUT, UNSET
from notify_streams.preferences.suppressed_addresses import MAX_CATEGORY_NUMBER
from notify_streams.records.names import MAX_LENGTH, name_fault
from notify_streams.records.outcomes import Reason
from notify_streams.records.user_records import ALL, DEFAULT_LOCALE
from notify_streams.roles import CHANNELS, Channel, channel_named
from notify_streams.settings_folder import config_folder

if TYPE_CHECKING:
    from pathlib import Path


class Default(StrEnum):
    """Whether a channel is used for users without a choice."""

    IN = "in"
    OUT = "out"
    #: Used whatever the user chose.
    ALWAYS = "always"


class OnDoubt(StrEnum):
    """Who is called after a call that its provider may have taken."""

    #: That provider again: it may know the message.
    STAY = "stay"
    #: The channel's next provider: a duplicate is better than waiting.
    NEXT = "next"


class OnFailedReceipt(StrEnum):
    """What follows when a provider reports that a message which it had accepted was not delivered."""

    END = "end"
    #: Another attempt, if the failure was temporary.
    RETRY = "retry"
    #: A notification by the next channel of the category that the trigger did not name.
    NEXT_CHANNEL = "next_channel"


class Category(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One category's policy. `number` identifies it in stored preferences and must never change."""

    number: Annotated[int, msgspec.Meta(ge=0, le=MAX_CATEGORY_NUMBER)]
    channels: dict[Channel, Default]
    #: The upstream systems whose triggers may use the category, and if it is critical may ask for the critical lane.
    systems: Annotated[frozenset[str], msgspec.Meta(min_length=1)]
    critical: bool = False
    #: At most a hundred years: the time at which a notification expires must be a date.
    ttl_s: Annotated[int, msgspec.Meta(gt=0, le=3_153_600_000)] = 86_400
    #: `next`: of a critical category only.
    on_doubt: OnDoubt = OnDoubt.STAY
    on_failed_receipt: OnFailedReceipt = OnFailedReceipt.END
    #: The templates that its triggers may name (`notify_streams.templates`).
    templates: tuple[str, ...] = ()
    #: By locale: what a person reads on the preference page. Without a title: the category's name.
    title: dict[str, Annotated[str, msgspec.Meta(min_length=1, max_length=80)]] = {}
    description: dict[str, Annotated[str, msgspec.Meta(min_length=1, max_length=400)]] = {}

    def is_open_to(self, system: str | None) -> bool:
        """Whether triggers of `system` may use the category; None: another region has checked it."""
        return system is None or system in self.systems

    def refusal(self, channel: Channel, choice: int) -> Reason | None:
        """Why `channel` may not be used for a user with this choice (`UNSET`, `IN` or `OUT`); None if it may."""
        default = self.channels.get(channel)
        if default is None:
            return Reason.CHANNEL_NOT_ALLOWED
        if default is Default.ALWAYS:
            return None
        if choice == OUT:
            return Reason.OPTED_OUT
        if choice == UNSET and default is Default.OUT:
            return Reason.NOT_OPTED_IN
        return None


Categories = dict[str, Category]


def choices_named(categories: Categories, category: str, channel: str) -> list[tuple[str, Channel]]:
    """The category and channel themselves; with `ALL` for one or both, each that a user may turn off."""
    if ALL not in (category, channel):
        return [] if (known := channel_named(channel)) is None else [(category, known)]
    return [
        (name, one)
        for name, policy in categories.items()
        for one, default in policy.channels.items()
        if category in (ALL, name) and channel in (ALL, one) and default is not Default.ALWAYS
    ]


def configured_categories() -> Categories:
    """The categories of ``categories.yaml`` in the folder ``NOTIFY_CONFIG_DIR`` (``config``).

    Raises:
        SettingsError: see `load_categories`.
    """
    return load_categories(config_folder() / "categories.yaml")


def load_categories(file: Path) -> Categories:
    """Read and check the categories.

    Raises:
        SettingsError: names the file, the line and what is wrong.
    """
    try:
        text = file.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
        lines = {} if root is None else _lines_of(file, root)
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file} is not UTF-8, from byte {error.start} on") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{file}: {error}") from error
    except (ValueError, RecursionError) as error:  # a date that there is not; a value that contains itself
        raise SettingsError(f"{file} is not YAML: {type(error).__name__}") from error
    if not isinstance(content, dict) or not content or root is None:
        raise SettingsError(f"{file} must hold at least one category")
    categories: Categories = {}
    names: dict[int, str] = {}
    _check_names_are_texts(file, root)
    for name, values in content.items():
        here = f"{file}, line {lines[(name,)]}, category {name!r}"
        if name == ALL:
            raise SettingsError(f"{here}: {ALL!r} stands for all categories and is not the name of one")
        category = _read(file, name, values, lines)
        _check_name(here, name)
        if other := names.get(category.number):
            raise SettingsError(f"{here}: number {category.number} already belongs to {other!r}; choose another")
        if not category.channels:
            raise SettingsError(f"{here}: allows no channel; name at least one of {', '.join(CHANNELS)}")
        if category.on_doubt is OnDoubt.NEXT and not category.critical:
            raise SettingsError(
                f"{here}: `on_doubt: next` is for critical categories: add `critical: true` or remove it"
            )
        if repeated := sorted({one for one in category.templates if category.templates.count(one) > 1}):
            raise SettingsError(f"{here}: names the template {repeated[0]!r} twice")
        for texts in (category.title, category.description):
            if texts and DEFAULT_LOCALE not in texts:
                raise SettingsError(f"{here}: `title` and `description` need a text for {DEFAULT_LOCALE!r}")
        names[category.number] = name
        categories[name] = category
    return categories


def channels_of_templates(categories: Categories) -> dict[str, frozenset[Channel]]:
    """Each template that a category names, and the channels of all categories that name it."""
    found: dict[str, frozenset[Channel]] = {}
    for category in categories.values():
        for template in category.templates:
            found[template] = found.get(template, frozenset()) | category.channels.keys()
    return found


def check_systems(categories: Categories, systems: Collection[str]) -> None:
    """Check that every system of every category is one of `systems`.

    Raises:
        SettingsError: names the category and the system. A name that is spelt wrong would shut the right system out.
    """
    for name, category in categories.items():
        if unknown := sorted(category.systems.difference(systems)):
            raise SettingsError(
                f"categories.yaml, category {name!r}: {unknown[0]!r} is not among `trigger_systems`: {', '.join(systems)}"
            )


#: Path of a key from the root → its line (1 is the first).
_Lines = dict[tuple[str, ...], int]
#: YAML's tag of a text.
_TEXT: Final = "tag:yaml.org,2002:str"
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
        sentence = problem_of(error, Category).sentence("it")
        raise SettingsError(f"{file}, line {line}, category {name!r}: {sentence}") from error


def _check_names_are_texts(file: Path, root: yaml.Node) -> None:
    """As written: `yes` is read as True, and a merged mapping has names without a line."""
    for key, _ in root.value:
        if key.tag != _TEXT:
            here = f"{file}, line {key.start_mark.line + 1}, category {key.value!r}"
            raise SettingsError(f"{here}: the name must be a text; put it in quotes")


def _check_name(where: str, name: str) -> None:
    if not 0 < len(name) <= MAX_LENGTH or name_fault("name", name):
        raise SettingsError(
            f"{where}: a name has 1 to {MAX_LENGTH} characters, no control character, and no blank at its ends"
        )


def _lines_of(file: Path, node: yaml.Node, path: tuple[str, ...] = ()) -> _Lines:
    lines: _Lines = {}
    if not isinstance(node, yaml.MappingNode):
        return lines
    for key, value in node.value:
        here = (*path, str(key.value))
        line = key.start_mark.line + 1
        if here in lines:
            raise SettingsError(f"{file}, line {line}: {key.value!r} is defined twice, first in line {lines[here]}")
        lines[here] = line
        lines |= _lines_of(file, value, here)
    return lines
