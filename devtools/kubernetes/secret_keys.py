"""The keys of the Secrets: every setting that is secret, or is a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args, get_origin

import msgspec

from notify_streams.secret import Secret
from notify_streams.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET: Final = "notify-streams"
#: The beginning of a key → its Secret; all others are in `SECRET`.
_SECRET_OF: Final = {"providers.": f"{SECRET}-providers", "web_": f"{SECRET}-views", "edge": f"{SECRET}-registry"}


def secret_keys() -> dict[str, str]:
    """Key → the Secret that it belongs to. ``<region>`` stands for the name of a region."""
    keys = [key for field in msgspec.structs.fields(Settings) for key in _keys(field.name, field.type)]
    return {
        key: next((secret for begin, secret in _SECRET_OF.items() if key.startswith(begin)), SECRET) for key in keys
    }


def page() -> str:
    """Markdown."""
    found = secret_keys()
    lines = [f"| `{key}` | `{secret}` |" for key, secret in sorted(found.items(), key=lambda one: (one[1], one[0]))]
    return "\n".join(
        (
            "# Keys of the Secrets",
            "Every setting that is secret, or is a file; any other setting may be a key, too. A key that you do not need is left out.",
            "What a key means: [Settings](settings.md), [log-ins and rights](security.md), [providers](providers.md), "
            "[webhooks and links](webhooks.md).",
            "",
            "| key | Secret |",
            "| --- | --- |",
            *lines,
            "",
        )
    )


def _keys(path: str, kind: Any) -> Iterator[str]:
    """The secret settings of `kind`. A list is one key, if something in it is secret."""
    parts = [part for part in (get_args(kind) or (kind,)) if part is not type(None)]
    if get_origin(kind) in (dict, tuple):
        inner = [key for part in parts for key in _keys("<region>", part)]
        if inner and get_origin(kind) is tuple:
            yield path
        else:
            yield from (f"{path}.{key}" for key in inner)
        return
    for part in parts:
        if part is Secret or (part is str and path.endswith("_file")):
            yield path
        elif isinstance(part, type) and issubclass(part, msgspec.Struct):
            for field in msgspec.structs.fields(part):
                yield from _keys(f"{path}.{field.name}", field.type)
