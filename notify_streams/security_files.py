"""Follows the files of a service's log-in and certificates."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from notify_streams.followed_files import CHECK_S, BadCredential, FollowedFiles
from notify_streams.secret import Secret
from notify_streams.security import KafkaSecurity, MongoSecurity, RedisSecurity

Group = TypeVar("Group", KafkaSecurity, MongoSecurity, RedisSecurity)
Loaded = TypeVar("Loaded")


def follow_security(
    service: str,
    group: Group,
    load: Callable[[Group], Loaded],
    apply: Callable[[Loaded], None],
    check_s: float = CHECK_S,
) -> FollowedFiles[Loaded]:
    """Follows the files of `group`, which is in use.

    `load` gets the new group, in a thread; `apply` gets the result, on the event loop. New connections then use it.
    """
    files = sorted(set(files_of(group)))
    contents = _contents(files)

    def changed() -> Loaded | None:
        nonlocal contents
        try:
            found = _contents(files)
            if found == contents:
                return None
            new: Group = _read_again(group)
        except (OSError, UnicodeDecodeError) as error:
            raise BadCredential(f"a file of {service} cannot be read: {type(error).__name__}") from None
        if any(isinstance(value, Secret) and value.file is not None and not value for _, value in _values_of(new)):
            # It is being written.
            raise BadCredential(f"{service}: the file of a secret is empty")
        for problem in new.problems():
            raise BadCredential(f"{service}: {problem}")
        loaded = load(new)
        contents = found
        return loaded

    return FollowedFiles(service, files, changed, apply, check_s)


def files_of(group: msgspec.Struct) -> Iterator[Path]:
    """The files of its secrets, and those that its settings name."""
    for name, value in _values_of(group):
        if isinstance(value, Secret) and value.file is not None:
            yield value.file
        elif isinstance(value, str) and name.endswith("_file"):
            yield Path(value)


def _values_of(group: msgspec.Struct) -> Iterator[tuple[str, Any]]:
    """Names and values of its fields, and of those of its groups."""
    for name in group.__struct_fields__:
        value = getattr(group, name)
        if isinstance(value, msgspec.Struct):
            yield from _values_of(value)
        else:
            yield name, value


def _contents(files: list[Path]) -> list[bytes]:
    return [hashlib.sha256(file.read_bytes()).digest() for file in files]


def _read_again(group: Any) -> Any:
    changes: dict[str, Any] = {}
    for name in group.__struct_fields__:
        value = getattr(group, name)
        if isinstance(value, msgspec.Struct):
            changes[name] = _read_again(value)
        elif isinstance(value, Secret) and value.file is not None:
            changes[name] = Secret.read(value.file)
    return msgspec.structs.replace(group, **changes)
