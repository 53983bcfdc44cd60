"""`/templates` and `/templates/{name}`: how the texts read, with example data.

No token is needed: the texts are settings and the data are those of `sample.json`, so no page has anything of a person, and a browser
sends no bearer token by itself. The files are read again, at most once a second, so that an author sees a change at once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams.admin.template_check import CheckedLocale, check_templates, sample_of, text_size
from notify_streams.admin.template_preview import preview
from notify_streams.delivery.providers.sms import sms_size
from notify_streams.errors import SettingsError
from notify_streams.preferences.categories import channels_of_templates
from notify_streams.records.user_records import DEFAULT_LOCALE, DEFAULT_TIME_ZONE
from notify_streams.settings_folder import config_folder
from notify_streams.templates.catalog import Templates
from notify_streams.templates.files import TemplateFiles
from notify_streams.web.pages.rendering import wants_json
from notify_streams.web.responses import WebView, json_response
from notify_streams.web.shared_result import SharedResult
from notify_streams.web.worker_objects import one_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.web import Request, Response

    from notify_streams.app import NotifyApp
    from notify_streams.roles import Channel
    from notify_streams.templates.catalog import Text

#: Characters of a locale or time zone.
_LONGEST: Final = 64


class _Catalog:
    """The files, compiled and checked. It takes 0.2 s.

    Raises:
        SettingsError: a file is missing or not valid.
    """

    def __init__(self, used: Mapping[str, frozenset[Channel]]) -> None:
        self.files = TemplateFiles(config_folder())
        self.used = used
        self.templates = Templates(self.files, used)
        self.checked: list[CheckedLocale]
        self.problems: list[str]
        self.checked, self.problems = check_templates(self.files, self.templates, used)


def _catalog(worker: NotifyApp) -> SharedResult[_Catalog]:
    used = channels_of_templates(worker.categories)
    return SharedResult(lambda: asyncio.to_thread(_Catalog, used))


class TemplateList(WebView):
    """All templates with their locales, and what `templates check` says of them."""

    async def get(self, request: Request) -> Response:
        try:
            catalog = await one_for(self.worker, _catalog).get()
        except SettingsError as error:
            return _not_valid(self, request, error)
        if wants_json(request.headers):
            holds = not catalog.problems
            return json_response({"holds": holds, "problems": catalog.problems, "templates": catalog.checked})
        return self.page(
            request, "templates.html", problems=catalog.problems, used=catalog.used, checked=catalog.checked
        )


class TemplatePreview(WebView):
    """The texts of one template for ``?locale=`` and ``?time_zone=``, which fall back as for a person."""

    async def get(self, request: Request, name: str) -> Response:
        locale, time_zone = (
            request.query.get(parameter, "")[:_LONGEST] or default
            for parameter, default in (("locale", DEFAULT_LOCALE), ("time_zone", DEFAULT_TIME_ZONE))
        )
        try:
            catalog = await one_for(self.worker, _catalog).get()
        except SettingsError as error:
            return _not_valid(self, request, error)
        if name not in catalog.used:
            return json_response({"error": "no category has this template", "templates": sorted(catalog.used)}, 404)
        try:
            data, problems = sample_of(catalog.files, name), []
        except ValueError as error:
            data, problems = {}, [str(error)]
        found = preview(catalog.templates, catalog.used[name], name, locale, time_zone, data)
        if wants_json(request.headers):
            return json_response(found)
        # The frame of a mail inherits the page's policy: its styles are attributes (`templates/css.py`), and it loads nothing.
        return self.page(
            request,
            "template.html",
            styled_attributes=True,
            preview=found,
            size=_size,
            problems=problems,
            locale=locale,
            time_zone=time_zone,
            locales=sorted(catalog.templates.locales(name)),
            longest=_LONGEST,
            sample=msgspec.json.format(msgspec.json.encode(data)).decode(),
        )


def _not_valid(view: WebView, request: Request, error: SettingsError) -> Response:
    if wants_json(request.headers):
        return json_response({"holds": False, "problems": [str(error)], "templates": []}, 500)
    return view.page(request, "templates.html", 500, problems=[str(error)], used={}, checked=[])


def _size(channel: Channel, text: Text) -> str:
    size, fault = text_size(channel, text)
    if fault is not None:
        return fault
    if channel != "sms":
        return f"{size:,} bytes"
    one = sms_size(text.body)
    return f"{one.segments} segment{'' if one.segments == 1 else 's'}, {one.encoding}, {one.units} units"
