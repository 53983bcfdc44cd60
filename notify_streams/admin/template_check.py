"""Examines each template with the data of its `sample.json`.

Does every locale render, ask for the same variables, and fit its channel?
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from notify_streams.delivery.providers.sms.segments import sms_size
from notify_streams.field_errors import problem_of
from notify_streams.records.user_records import DEFAULT_LOCALE, DEFAULT_TIME_ZONE
from notify_streams.templates.catalog import PREFERENCES_URL, UNSUBSCRIBE_URL, RenderingError, Text
from notify_streams.templates.files import PARTS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from notify_streams.roles import Channel
    from notify_streams.templates.catalog import LocalTemplate, Templates
    from notify_streams.templates.files import TemplateFiles

#: FCM's and APNs' limit, here for title and body alone: data comes on top.
_MAX_PUSH_BYTES: Final = 4096
#: Twilio's limit.
_MAX_SMS_CHARACTERS: Final = 1600
#: Instead of a person's.
EXAMPLE_LINKS: Final[dict[str, Any]] = {
    PREFERENCES_URL: "https://notify.example.org/preferences/TOKEN",
    UNSUBSCRIBE_URL: "https://notify.example.org/unsubscribe/TOKEN",
}
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


class CheckedLocale(msgspec.Struct, frozen=True):
    """What one template is in one locale."""

    template: str
    locale: str
    #: As in an attempt.
    version: str
    #: channel → bytes (push, email) or segments (sms) of the rendered sample
    sizes: dict[str, int]


def check_templates(
    files: TemplateFiles, templates: Templates, used: Mapping[str, Collection[Channel]]
) -> tuple[list[CheckedLocale], list[str]]:
    """What there is, and a sentence for each fault. `templates` are those of `files` that are `used`."""
    checked: list[CheckedLocale] = []
    problems = [f"{files.place / name}: no category names this template" for name in files.texts if name not in used]
    for name, channels in used.items():
        locales = templates.locales(name)
        for local in locales.values():
            problems += _other_variables(files, name, local, locales[DEFAULT_LOCALE])
        try:
            sample = sample_of(files, name)
        except ValueError as error:
            problems.append(str(error))
            continue
        for local in locales.values():
            sizes: dict[str, int] = {}
            for channel in sorted(channels):
                where = f"{files.place / name / local.locale}, {channel}"
                try:
                    text = local.render(channel, local.locale, DEFAULT_TIME_ZONE, EXAMPLE_LINKS | sample)
                except RenderingError as error:
                    problems.append(f"{where}: {error}; the data is that of sample.json")
                    continue
                sizes[channel], fault = text_size(channel, text)
                problems += [f"{where}: {fault}"] if fault else []
            checked.append(CheckedLocale(name, local.locale, local.version, sizes))
    return checked, problems


def sample_of(files: TemplateFiles, name: str) -> dict[str, Any]:
    """The data of a template's example.

    Raises:
        ValueError: there is none, or it is not valid.
    """
    file = files.place / name / "sample.json"
    if name not in files.samples:
        raise ValueError(f"{file} does not exist: write an example of the template's data")
    try:
        return _decode(files.samples[name])
    except msgspec.DecodeError as error:
        raise ValueError(problem_of(error, dict[str, Any]).sentence(str(file))) from None


def _other_variables(files: TemplateFiles, name: str, local: LocalTemplate, default: LocalTemplate) -> list[str]:
    """Where a locale asks for other data than the default locale: a sender's data must suit all people."""
    problems = []
    for part in (part for parts in PARTS.values() for part in parts):
        if part not in local.parts or part not in default.parts:
            continue
        found, expected = local.parts[part].variables, default.parts[part].variables
        if (found.required, found.optional) != (expected.required, expected.optional):
            differing = (found.required ^ expected.required) | (found.optional ^ expected.optional)
            problems.append(
                f"{files.place / name / local.locale / part}: {', '.join(sorted(differing))} is not used as in {default.locale}"
            )
    return problems


def text_size(channel: Channel, text: Text) -> tuple[int, str | None]:
    """The size of a text in the unit of its channel, and what is wrong with it."""
    if channel == "sms":
        size = len(text.body)
        too_long = size > _MAX_SMS_CHARACTERS
        fault = f"{size} characters, an SMS has at most {_MAX_SMS_CHARACTERS}" if too_long else None
        return sms_size(text.body).segments, fault
    size = sum(len(part.encode()) for part in (text.title, text.body, text.html) if part)
    too_large = channel == "push" and size > _MAX_PUSH_BYTES
    return size, f"{size} bytes of title and body, a push has at most {_MAX_PUSH_BYTES}" if too_large else None
