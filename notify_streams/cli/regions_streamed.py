"""Prints what every region knows, item after item, as one JSON object or as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from notify_streams.cli.output import categories_of, settings_of, visible, write
from notify_streams.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from notify_streams.admin.person_export import Item
    from notify_streams.preferences.categories import Categories
    from notify_streams.settings import Settings

    Read = Callable[[Settings, Categories, str], AsyncIterator[Item]]


async def print_each_region(
    settings: Settings,
    user_id: str,
    read: Read,
    *,
    as_json: bool,
    settings_of: Callable[[str], Settings] = settings_of,
) -> bool:
    """Print ``{"user_id", "regions": {<region>: {<kind>: [item, …], "unreachable": why}}}`` without holding more than one item.

    Returns:
        Whether every region answered to the end.
    """
    from notify_streams.admin.regions_asked import AWAY, why_away

    printer: _Json | _Text = _Json(user_id) if as_json else _Text(user_id)
    complete = True
    for region in settings.regions:
        printer.region(region)
        try:
            async for kind, item in read(settings_of(region), categories_of(), user_id):
                printer.item(kind, item)
        except (SettingsError, *AWAY) as error:
            complete = False
            printer.away(why_away(error))
    printer.end()
    return complete


class _Text:
    def __init__(self, user_id: str) -> None:
        write(f"{user_id}\n")

    def region(self, region: str) -> None:
        write(f"{region}:\n")

    def item(self, kind: str, item: dict[str, Any]) -> None:
        fields = ", ".join(f"{name} {value}" for name, value in item.items() if value is not None)
        write(visible(f"  {kind}: {fields}\n"))

    def away(self, why: str) -> None:
        write(f"  gives no answer: {why}\n")

    def end(self) -> None:
        return


class _Json:
    """Writes the object piece by piece."""

    def __init__(self, user_id: str) -> None:
        self._write(b'{"user_id":' + orjson.dumps(user_id) + b',"regions":{')
        self._regions = 0
        self._kind: str | None = None

    def region(self, region: str) -> None:
        self._close_kind()
        self._write((b"}," if self._regions else b"") + orjson.dumps(region) + b":{")
        self._regions += 1
        self._members = 0

    def item(self, kind: str, item: dict[str, Any]) -> None:
        if kind != self._kind:
            self._member(kind)
            self._write(b"[")
            self._kind = kind
        else:
            self._write(b",\n")
        self._write(orjson.dumps(item, default=str))

    def away(self, why: str) -> None:
        self._member("unreachable")
        self._write(orjson.dumps(why))

    def end(self) -> None:
        self._close_kind()
        self._write((b"}" if self._regions else b"") + b"}}\n")

    def _member(self, name: str) -> None:
        self._close_kind()
        self._write((b"," if self._members else b"") + orjson.dumps(name) + b":")
        self._members += 1

    def _close_kind(self) -> None:
        if self._kind is not None:
            self._write(b"]")
            self._kind = None

    def _write(self, part: bytes) -> None:
        write(part)
