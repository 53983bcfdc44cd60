"""`notify-streams templates`: whether texts are complete, how they read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from notify_streams.cli.output import as_json, categories_of, print_result
from notify_streams.errors import Refused
from notify_streams.records.user_records import DEFAULT_LOCALE, DEFAULT_TIME_ZONE
from notify_streams.roles import CHANNELS

if TYPE_CHECKING:
    from notify_streams.roles import Channel
    from notify_streams.templates.catalog import Text
    from notify_streams.templates.files import TemplateFiles

_UNITS = {"push": "bytes", "sms": "segments", "email": "bytes"}


@click.group()
def templates() -> None:
    """Check templates, show how they read."""


@templates.command()
@as_json
def check(as_json: bool) -> None:
    """Render every template of every category in every locale with its sample.json.

    Exit 1 with a line for each fault.
    """
    import msgspec

    from notify_streams.admin.template_check import check_templates
    from notify_streams.preferences.categories import channels_of_templates
    from notify_streams.templates.catalog import Templates

    files, used = _files(), channels_of_templates(categories_of())
    checked, problems = check_templates(files, Templates(files, used), used)
    lines = []
    for one in checked:
        sizes = ", ".join(f"{channel} {size} {_UNITS[channel]}" for channel, size in one.sizes.items())
        lines.append(f"{one.template:<24} {one.version:<20} {sizes}")
    value = {"holds": not problems, "problems": problems, "templates": [msgspec.structs.asdict(one) for one in checked]}
    print_result(as_json, value, [*lines, *problems, f"{len(checked)} texts, {len(problems)} faults"])
    raise SystemExit(1 if problems else 0)


@templates.command("preview")
@click.argument("name")
@click.option("--locale", default=DEFAULT_LOCALE, show_default=True, help="The person's; falls back as for a person.")
@click.option("--time-zone", default=DEFAULT_TIME_ZONE, show_default=True, help="The person's.")
@click.option("--channel", type=click.Choice(CHANNELS), help="Default: all channels of its categories.")
@click.option("--data", type=click.Path(exists=True, dir_okay=False), help="A JSON object; default: its sample.json.")
@as_json
def preview_command(
    name: str, locale: str, time_zone: str, channel: Channel | None, data: str | None, as_json: bool
) -> None:
    """Show the texts of the template NAME."""
    import msgspec

    from notify_streams.admin.template_preview import preview
    from notify_streams.preferences.categories import channels_of_templates
    from notify_streams.templates.catalog import Templates

    files, used = _files(), channels_of_templates(categories_of())
    if name not in used:
        raise Refused(f"no category has a template {name!r}; there are: {', '.join(sorted(used))}")
    if channel is not None and channel not in used[name]:
        raise Refused(f"no category sends {name!r} by {channel}, only by {', '.join(sorted(used[name]))}")
    content = _data(files, name, data)
    channels = used[name] if channel is None else (channel,)
    found = preview(Templates(files, used), channels, name, locale, time_zone, content)
    assert found is not None, "every used template is compiled"
    for one, fault in found.faults.items():
        raise Refused(f"{one}: {fault}")
    lines = [f"template {found.version}"]
    for one, text in found.texts.items():
        lines += _lines(one, text)
    texts = {one: msgspec.structs.asdict(text) for one, text in found.texts.items()}
    print_result(as_json, {"template": name, "version": found.version, "texts": texts}, lines, styled=True)


def _lines(channel: Channel, text: Text) -> list[str]:
    lines = ["", click.style(f"-- {channel}", bold=True)]
    lines += [click.style(text.title, bold=True)] if text.title is not None else []
    lines += [text.body]
    return lines + (["", text.html] if text.html is not None else [])


def _data(files: TemplateFiles, name: str, given: str | None) -> dict[str, Any]:
    import msgspec

    from notify_streams.admin.template_check import sample_of

    try:
        if given is None:
            return sample_of(files, name)
        return msgspec.json.decode(Path(given).read_bytes(), type=dict[str, Any])
    except (ValueError, OSError) as error:
        raise Refused(str(error) if given is None else f"{given} is not a JSON object: {error}") from None


def _files() -> TemplateFiles:
    from notify_streams.settings_folder import config_folder
    from notify_streams.templates.files import TemplateFiles

    return TemplateFiles(config_folder())
