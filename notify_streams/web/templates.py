"""`/templates` and `/templates/{name}`: how the texts read, with example data.

No token is needed: the texts are settings and the data are those of `sample.json`, so no page has anything of a person, and a browser
sends no bearer token by itself. The files are read again, at most once a second, so that an author sees a change at once.
"""

from __future__ import annotations

import asyncio
import secrets
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from notify_streams.admin.template_check import CheckedLocale, check_templates, sample_of, text_size
from notify_streams.admin.template_preview import Preview, preview
from notify_streams.delivery.providers.sms import sms_size
from notify_streams.errors import SettingsError
from notify_streams.preferences.categories import channels_of_templates
from notify_streams.records.user_records import DEFAULT_LOCALE, DEFAULT_TIME_ZONE
from notify_streams.settings import config_folder
from notify_streams.templates.catalog import Templates
from notify_streams.templates.files import TemplateFiles
from notify_streams.web.dashboard import wants_json
from notify_streams.web.palette import palette
from notify_streams.web.responses import Content, WebView, json_response
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
            return _not_valid(self.worker, request, error)
        if wants_json(request.headers.get("Accept", "")):
            holds = not catalog.problems
            return json_response({"holds": holds, "problems": catalog.problems, "templates": catalog.checked})
        return _page(self.worker, problems=catalog.problems, used=catalog.used, checked=catalog.checked)


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
            return _not_valid(self.worker, request, error)
        if name not in catalog.used:
            return json_response({"error": "no category has this template", "templates": sorted(catalog.used)}, 404)
        try:
            data, problems = sample_of(catalog.files, name), []
        except ValueError as error:
            data, problems = {}, [str(error)]
        found = preview(catalog.templates, catalog.used[name], name, locale, time_zone, data)
        if wants_json(request.headers.get("Accept", "")):
            return json_response(found)
        return _page(
            self.worker,
            preview=found,
            problems=problems,
            locale=locale,
            time_zone=time_zone,
            locales=sorted(catalog.templates.locales(name)),
            longest=_LONGEST,
            sample=msgspec.json.format(msgspec.json.encode(data)).decode(),
        )


def _page(worker: NotifyApp, status: int = 200, preview: Preview | None = None, **values: Any) -> Response:
    nonce = secrets.token_urlsafe(16)
    body = _template().render(
        region=worker.settings.region, nonce=nonce, palette=Markup(palette()), preview=preview, size=_size, **values
    )
    # The frame of a mail inherits this policy: its styles are attributes (`templates/css.py`), and it loads nothing.
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; style-src-attr 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    headers = {"Content-Security-Policy": policy}
    return Content(body.encode(), "text/html; charset=utf-8", status, headers).response()


def _not_valid(worker: NotifyApp, request: Request, error: SettingsError) -> Response:
    if wants_json(request.headers.get("Accept", "")):
        return json_response({"holds": False, "problems": [str(error)], "templates": []}, 500)
    return _page(worker, 500, problems=[str(error)], used={}, checked=[])


def _size(channel: Channel, text: Text) -> str:
    size, fault = text_size(channel, text)
    if fault is not None:
        return fault
    if channel != "sms":
        return f"{size:,} bytes"
    one = sms_size(text.body)
    return f"{one.segments} segment{'' if one.segments == 1 else 's'}, {one.encoding}, {one.units} units"


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("templates.html")
