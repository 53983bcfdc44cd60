"""`notify-streams consent`: a person's choices, and the deliveries they allowed."""

from __future__ import annotations

import click

from notify_streams.cli.output import as_json, region_option, run, settings_of
from notify_streams.cli.regions_streamed import print_each_region


@click.command()
@click.argument("user_id")
@region_option
@as_json
def consent(user_id: str, region: str, as_json: bool) -> None:
    """Show every choice of a person with its source and time, from each region.

    And every delivery with the version of the choices that it was decided by. Exit 1 if a region does not answer.
    """
    from notify_streams.admin.person_export import export_consent

    settings = settings_of(region)
    complete = run(print_each_region(settings, user_id, export_consent, as_json=as_json), settings)
    raise SystemExit(0 if complete else 1)
