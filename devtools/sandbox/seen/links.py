"""From a message to its trigger: `why` and the view `/notifications/`."""

from __future__ import annotations

import re
import shlex
from typing import Final, NamedTuple
from urllib.parse import quote

from notify_streams.records.ids import trigger_of

_NOTIFICATION_ID: Final = re.compile(r".+-[0-9a-f]{24}", re.DOTALL)


class Links(NamedTuple):
    """Of the region whose messages the sandbox gets; None: not known."""

    region: str | None = None
    #: The URL of the role `views`.
    views: str | None = None

    def why(self, trigger_id: str) -> str:
        """The command, for a POSIX shell; with control or format characters in the id, for bash."""
        region = f" --region {shlex.quote(self.region)}" if self.region else ""
        end = " --" if trigger_id.startswith("-") else ""
        return f"notify-streams why{region}{end} {_quoted(trigger_id)}"

    def notifications(self, trigger_id: str) -> str | None:
        """The URL of the view."""
        return None if self.views is None else f"{self.views.rstrip('/')}/notifications/{quote(trigger_id, safe='')}"


def trigger_id_of(notification_id: str) -> str:
    """The trigger's id; the whole text if it is no notification id of ours."""
    return trigger_of(notification_id) if _NOTIFICATION_ID.fullmatch(notification_id) else notification_id


def visible(text: str) -> str:
    r"""`text` with each control, format and separator character but the blank as ``\uXXXX``: it cannot change how the rest is shown."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def _quoted(text: str) -> str:
    if text.isprintable():
        return shlex.quote(text)
    plain = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{visible(plain)}'"


def _escaped(letter: str) -> str:
    return (
        letter if letter.isprintable() else f"\\U{ord(letter):08x}" if ord(letter) > 0xFFFF else f"\\u{ord(letter):04x}"
    )
