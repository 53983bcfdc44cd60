"""Starts tracing where the settings have an endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams.errors import SettingsError

if TYPE_CHECKING:
    from notify_streams.settings import Settings
    from notify_streams.tracing.spans import Spans


def start_tracing(settings: Settings, role: str) -> Spans | None:
    """The spans of a worker; None while tracing is off: then no exporter is imported.

    Raises:
        SettingsError: the extra `tracing` is not installed.
    """
    if settings.tracing.endpoint is None:
        return None
    try:
        from notify_streams.tracing.spans import Spans
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"tracing.endpoint is set, but {error.name} is not installed: pip install 'notify-streams[tracing]'"
        ) from error
    return Spans(settings.tracing, settings.region, role)
