"""Merges layers of settings: YAML files, variables, files of one setting."""

from __future__ import annotations

import types
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Union, get_args, get_origin

import msgspec
import yaml

from notify_streams.errors import SettingsError
from notify_streams.secret import Secret
from notify_streams.yaml_loader import load_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PREFIX: Final = "NOTIFY_"
_FILE: Final = "_file"
#: Variables that are not settings: they select which settings to load, or belong to the local stack and its tests.
_NOT_SETTINGS: Final = frozenset(
    {
        "NOTIFY_ROLE",
        "NOTIFY_CONFIG_DIR",
        "NOTIFY_STACK_DIR",
        "NOTIFY_STACK_PORTS",
        "NOTIFY_FAILPOINTS",
        "NOTIFY_REGION",
        "NOTIFY_SECRETS_DIR",
        # set by systemd for services with Type=notify
        "NOTIFY_SOCKET",
    }
)
_TEST_PREFIX: Final = "NOTIFY_TEST_"


def read_layer(file: Path) -> dict[str, Any]:
    """The mapping in a YAML file."""
    content = _yaml(str(file), _text(file))
    if not isinstance(content, dict):
        raise SettingsError(f"{file} must be a YAML mapping, not a {type(content).__name__}")
    return content


def environ_layer(environ: Mapping[str, str], kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The settings (of type `kind`) in the environment."""
    values: dict[str, Any] = {}
    for name, text in sorted(environ.items()):  # a group comes before its keys
        if not name.startswith(PREFIX) or name.startswith(_TEST_PREFIX) or name in _NOT_SETTINGS:
            continue
        *groups, last = name.removeprefix(PREFIX).lower().split("__")
        group_values = values
        for group in groups:
            group_values = group_values.setdefault(group, {})
            if not isinstance(group_values, dict):
                raise SettingsError(f"{name}: another variable sets {group} to a value without keys; unset one of them")
        group_values[last] = _parsed(name, text, _type_of(kind, [*groups, last]))
    return values


def secrets_layer(folder: Path, kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The settings (of type `kind`) that are files of `folder`, each named as its setting: ``kafka_security.password``.

    Names that begin with a dot are left out: Kubernetes keeps the files of a Secret in such folders.
    """
    values: dict[str, Any] = {}
    try:
        names = sorted(file.name for file in folder.iterdir() if not file.name.startswith("."))
    except OSError as error:
        raise SettingsError(f"NOTIFY_SECRETS_DIR: {folder} cannot be read: {error.strerror}") from error
    for name in names:
        *groups, last = name.split(".")
        group_values = values
        for group in groups:
            group_values = group_values.setdefault(group, {})
        if _type_of(kind, [*groups, last]) is None:
            raise SettingsError(
                f"NOTIFY_SECRETS_DIR: {folder / name}: there is no such setting; a file there is named as its setting"
            )
        group_values[last if last.endswith(_FILE) else last + _FILE] = str(folder / name)
    return values


def merge(below: dict[Any, Any], above: Mapping[Any, Any], *, deep: bool) -> None:
    """Put `above` over `below`; with `deep`, groups are merged key by key. A value replaces its file, and a file its value.

    An empty group replaces the group below it, because it could not be emptied otherwise.
    """
    for key in above:
        if isinstance(key, str):  # one of `bucket_shards` is a number
            below.pop(key.removesuffix(_FILE) if key.endswith(_FILE) else key + _FILE, None)
    for key, value in above.items():
        if deep and value and isinstance(value, dict) and isinstance(below.get(key), dict):
            merge(below[key], value, deep=True)
        else:
            below[key] = value


def read_value_files(values: Any, kind: Any, path: str, problems: list[str]) -> Any:
    """`values` (for the type `kind`) with the content of a file in place of each ``<setting>_file``.

    One newline at the end of a file is ignored. What is wrong is added to `problems`.
    """
    if isinstance(values, (list, tuple)):
        inner = _element_type(kind)
        return [read_value_files(value, inner, f"{path}[{at}]", problems) for at, value in enumerate(values)]
    if not isinstance(values, dict):
        return values
    if not _is_struct(kind):
        inner = _element_type(kind)
        return {key: read_value_files(value, inner, f"{path}.{key}", problems) for key, value in values.items()}
    fields = _fields(kind)
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{path}.{key}".removeprefix(".")
        setting = key.removesuffix(_FILE) if isinstance(key, str) else key
        if key in fields or setting not in fields:
            found[key] = read_value_files(value, fields.get(key), name, problems)
        elif setting in values:
            problems.append(f"{name.removesuffix(_FILE)} and {name} are both set: remove one of them")
        else:
            try:
                found[setting] = _from_file(name, Path(str(value)), fields[setting])
            except SettingsError as error:
                problems.append(f"{name}: {error}")
    return found


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}") from error


def _from_file(name: str, file: Path, kind: Any) -> Any:
    """A `Secret` knows its file, which may be read again."""
    text = _text(file).removesuffix("\n")
    return Secret(text, file) if text and _plain(kind) is Secret else _parsed(name, text, kind)


def _parsed(name: str, text: str, kind: Any) -> Any:
    """A string is not parsed, because YAML reads a token such as ``#1`` or ``1_0`` differently."""
    return (text or None) if _plain(kind) in (str, Secret) else _yaml(name, text)


def _yaml(name: str, text: str) -> Any:
    try:
        return load_yaml(text)
    except yaml.MarkedYAMLError as error:
        # Without the excerpt in the error's own text, which may show a credential.
        mark = error.problem_mark
        where = "" if mark is None else f" in line {mark.line + 1}, column {mark.column + 1}"
        raise SettingsError(f"{name} is not YAML: {error.problem}{where}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # for example an impossible date
        raise SettingsError(f"{name} is not YAML: {type(error).__name__}") from None


def _type_of(kind: Any, path: Sequence[str]) -> Any:
    """The type of a setting; `str` for the file of one; None if there is no such setting."""
    for name in path:
        if not _is_struct(kind):
            kind = _element_type(kind)
            continue
        fields = _fields(kind)
        is_file = name not in fields and name.removesuffix(_FILE) in fields
        kind = str if is_file else fields.get(name)
    return kind


def _fields(kind: Any) -> dict[str, Any]:
    return {field.name: field.type for field in msgspec.structs.fields(_plain(kind))}


def _is_struct(kind: Any) -> bool:
    kind = _plain(kind)
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _plain(kind: Any) -> Any:
    """`kind` without constraints and without `None`."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, types.UnionType):
        (kind, *others) = [part for part in get_args(kind) if part is not type(None)]
        return None if others else kind
    return kind


def _element_type(kind: Any) -> Any:
    """The type of the values of a `dict` or a `tuple`."""
    kind = _plain(kind)
    arguments = get_args(kind)
    if get_origin(kind) is dict:
        return arguments[1]
    return arguments[0] if get_origin(kind) is tuple else None
