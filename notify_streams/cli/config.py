"""`notify-streams config check`."""

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
    """Exit 1 with a sentence that names the file, the key and the remedy, unless both can be used."""
    settings = settings_of(region)
    categories = categories_of()
    value = {"holds": True, "region": settings.region, "shards": len(settings.shards), "categories": sorted(categories)}
    print_result(as_json, value, [f"region {region}: settings are good, {len(categories)} categories"])
