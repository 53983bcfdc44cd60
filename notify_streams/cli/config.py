"""`notify-streams config check`: whether settings and categories are valid."""

from __future__ import annotations

import click

from notify_streams.cli.output import as_json, categories_of, print_result, region_option, settings_of


@click.group()
def config() -> None:
    """Settings and categories."""


@config.command()
@region_option
@as_json
def check(region: str, as_json: bool) -> None:
    """Check settings and categories. Exit 1 with one line that names the file and the key if one is not valid."""
    settings = settings_of(region)
    categories = categories_of()
    value = {"holds": True, "region": settings.region, "shards": len(settings.shards), "categories": sorted(categories)}
    print_result(as_json, value, [f"region {region}: settings are valid, {len(categories)} categories"])
