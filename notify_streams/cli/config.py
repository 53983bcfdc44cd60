"""`notify-streams config check`: whether settings and categories are valid."""

from __future__ import annotations

import click

from notify_streams.cli.output import as_json, categories_of, print_result, region_option, settings_of
from notify_streams.errors import SettingsError


@click.group()
def config() -> None:
    """Settings and categories."""


@config.command()
@region_option
@as_json
def check(region: str, as_json: bool) -> None:
    """Check settings and categories. Exit 1 with a line for each that is not valid; no line shows a secret."""
    from notify_streams.preferences.categories import channels_of_templates, check_systems
    from notify_streams.templates.catalog import configured_templates

    problems: list[str] = []
    try:
        settings = settings_of(region)
    except SettingsError as error:
        problems.append(str(error))
    try:
        categories = categories_of()
        configured_templates(channels_of_templates(categories))
    except SettingsError as error:
        problems.append(str(error))
    if not problems:
        try:
            check_systems(categories, settings.trigger_systems)
        except SettingsError as error:
            problems.append(str(error))
    if problems:
        print_result(as_json, {"holds": False, "region": region, "problems": problems}, ())
        raise SettingsError("\n".join(problems))
    value = {"holds": True, "region": settings.region, "shards": len(settings.shards), "categories": sorted(categories)}
    print_result(as_json, value, [f"region {region}: settings are valid, {len(categories)} categories"])
