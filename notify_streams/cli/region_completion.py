"""Completes the names of regions in a shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams.settings_folder import config_folder, regions_of

if TYPE_CHECKING:
    import click


def complete_region(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """The regions with a settings file whose name begins like this."""
    return [region for region in regions_of(config_folder()) if region.startswith(begun)]


def complete_regions(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """The same for a comma-separated list: its last name is completed with regions that it does not have yet."""
    before, comma, last = begun.rpartition(",")
    given = before.split(",")
    return [before + comma + region for region in complete_region(context, parameter, last) if region not in given]
