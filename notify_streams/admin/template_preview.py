"""How a template reads for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from notify_streams.admin.template_check import EXAMPLE_LINKS
from notify_streams.roles import CHANNELS, Channel
from notify_streams.templates.catalog import RenderingError, Text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from notify_streams.templates.catalog import Templates


class Preview(msgspec.Struct, frozen=True):
    template: str
    #: As in an attempt.
    version: str
    #: Of each channel that can be rendered.
    texts: dict[Channel, Text]
    #: Of each other channel: why not.
    faults: dict[Channel, str]


def preview(
    templates: Templates,
    channels: Collection[Channel],
    name: str,
    locale: str,
    time_zone: str,
    data: Mapping[str, Any],
) -> Preview | None:
    """The texts of the template `name` in `channels` for a person with this locale and time zone. None: there is no such template."""
    local = templates.in_locale(name, locale)
    if local is None:
        return None
    texts: dict[Channel, Text] = {}
    faults: dict[Channel, str] = {}
    for channel in (one for one in CHANNELS if one in channels):
        try:
            texts[channel] = local.render(channel, locale, time_zone, {**EXAMPLE_LINKS, **data})
        except RenderingError as error:
            faults[channel] = str(error)
    return Preview(name, local.version, texts, faults)
