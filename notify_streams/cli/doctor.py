"""`notify-streams doctor`: what is wrong with a region, one line each."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from notify_streams.cli.output import as_json, print_result, region_option, run, settings_of, write

if TYPE_CHECKING:
    from notify_streams.web.doctor import Finding


@click.command()
@region_option
@as_json
def doctor(region: str, as_json: bool) -> None:
    """Check services, clocks, topics, texts, credentials and workers of a region. Exit 1 if something is wrong.

    It takes 10 s at most. What is wrong is printed as soon as it is known, and the rest at the end.
    """
    from notify_streams.web.doctor import examine

    settings = settings_of(region)

    def report(one: Finding) -> None:
        if not one.ok and not as_json:
            todo = f"{'' if one.text.endswith('.') else '.'} Do: {one.todo}" if one.todo else ""
            write(f"WRONG {one.about}: {one.text}{todo}\n")

    found = run(examine(settings, report), settings)
    wrong = [one for one in found if not one.ok]
    lines = [f"ok    {one.about}: {one.text}" for one in found if one.ok]
    verdict = f"{len(wrong)} of {len(found)} checks found something" if wrong else f"all {len(found)} checks hold"
    lines.append(f"region {region}: {verdict}")
    print_result(as_json, {"holds": not wrong, "checks": [asdict(one) for one in found]}, lines)
    raise SystemExit(1 if wrong else 0)
