"""All templates, compiled once: what they need, and the texts they make."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import msgspec
from jinja2 import TemplateError

from notify_streams.errors import SettingsError
from notify_streams.records.trigger import MAX_TITLE
from notify_streams.records.user_records import DEFAULT_LOCALE
from notify_streams.roles import CHANNELS
from notify_streams.settings_folder import config_folder
from notify_streams.templates.css import with_inlined_css
from notify_streams.templates.files import (
    EMAIL_HTML,
    EMAIL_SUBJECT,
    EMAIL_TEXT,
    PARTS,
    PUSH_BODY,
    PUSH_TITLE,
    SMS,
    TemplateFiles,
)
from notify_streams.templates.formats import babel_locale, formats_for
from notify_streams.templates.sandbox import Part, TextTooLong

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from notify_streams.roles import Channel

#: What this system gives to mails, not the sender: the links of the person's preference page, and to turn this kind of mail off. Each may be
#: absent, so a file that has it tests it (`is defined`).
PREFERENCES_URL: Final = "preferences_url"
UNSUBSCRIBE_URL: Final = "unsubscribe_url"
LINKS: Final = frozenset((PREFERENCES_URL, UNSUBSCRIBE_URL))
_DIGEST_BYTES: Final = 6
#: A person chooses the locale, so the number of different ones is bounded.
_CACHED: Final = 4096
#: Channel → the files of title, body and HTML.
_USES: Final[dict[Channel, tuple[str | None, str, str | None]]] = {
    "push": (PUSH_TITLE, PUSH_BODY, None),
    "sms": (None, SMS, None),
    "email": (EMAIL_SUBJECT, EMAIL_TEXT, EMAIL_HTML),
}


class RenderingError(Exception):
    """The template does not fit the data. The text names types and template variables only."""


class Text(msgspec.Struct, frozen=True, gc=False):
    """What a person reads."""

    title: str | None
    body: str
    html: str | None = None
    #: Locale and content hash of the template, `de:1f0c22ab41e7`; None for a trigger's own text.
    version: str | None = None


@dataclass(frozen=True, slots=True)
class LocalTemplate:
    """One template in one locale."""

    locale: str
    #: Locale and content hash: changes if a file changes.
    version: str
    parts: Mapping[str, Part]
    #: Those of `LINKS` that its mail has.
    links: frozenset[str]

    def render(self, channel: Channel, locale: str, time_zone: str, data: Mapping[str, Any]) -> Text:
        """The text for a person with this locale and time zone; a null in `data` counts as absent.

        Raises:
            RenderingError
        """
        formats = formats_for(locale, self.locale, time_zone)
        if None in data.values():
            data = {name: value for name, value in data.items() if value is not None}
        title, body, html = _USES[channel]
        parts = self.parts
        try:
            return Text(
                None if title is None else _limited(parts[title].render(data, formats)),
                parts[body].render(data, formats),
                None if html is None else parts[html].render(data, formats),
                self.version,
            )
        except TextTooLong:
            raise RenderingError("the text is too long") from None
        except Exception as error:  # of any type: an expression that the data does not fit
            raise RenderingError(f"a template does not fit the data: {type(error).__name__}") from None


class Templates:
    """The templates that categories use.

    Args:
        files: what there is.
        used: template → the channels in which its categories may send it.

    Raises:
        SettingsError: names the file and what is wrong.
    """

    def __init__(self, files: TemplateFiles, used: Mapping[str, Collection[Channel]]) -> None:
        self._found = {name: _compiled(files, name, channels) for name, channels in used.items()}
        self._in_locale = lru_cache(_CACHED)(self._choose)

    def locales(self, name: str) -> Mapping[str, LocalTemplate]:
        """The template in each of its locales."""
        return self._found[name]

    def in_locale(self, name: str, locale: str) -> LocalTemplate | None:
        """The template for a person with this locale: ``pt-BR``, else ``pt``, else the default locale. None: no such template."""
        return self._in_locale(name, locale)

    def _choose(self, name: str, locale: str) -> LocalTemplate | None:
        found = self._found.get(name)
        if found is None:
            return None
        by_tag = {tag.lower(): template for tag, template in found.items()}
        tag = locale.replace("_", "-").lower()
        while tag:
            if tag in by_tag:
                return by_tag[tag]
            tag = tag.rpartition("-")[0]
        return found[DEFAULT_LOCALE]

    def required(self, name: str, channels: Collection[Channel]) -> frozenset[str]:
        """The names that `data` must have for these channels, in any locale."""
        wanted = [part for channel in channels for part in PARTS[channel]]
        return frozenset(
            name
            for local in self._found[name].values()
            for part in wanted
            if part in local.parts
            for name in local.parts[part].variables.required
        )


def configured_templates(used: Mapping[str, Collection[Channel]]) -> Templates:
    """The templates in the folder ``NOTIFY_CONFIG_DIR`` (``config``).

    Raises:
        SettingsError: see `Templates`.
    """
    return Templates(TemplateFiles(config_folder()), used)


def _limited(title: str) -> str:
    if len(title) > MAX_TITLE:
        raise TextTooLong
    return title


def _compiled(files: TemplateFiles, name: str, channels: Collection[Channel]) -> dict[str, LocalTemplate]:
    found = files.texts.get(name)
    where = files.place / name
    if found is None or DEFAULT_LOCALE not in found:
        raise SettingsError(
            f"{where}/{DEFAULT_LOCALE} does not exist: every template has its texts in {DEFAULT_LOCALE!r}"
        )
    for locale, texts in found.items():
        if babel_locale(locale) is None:
            raise SettingsError(f"{where}/{locale}: CLDR has no such locale")
        needed = [part for channel in CHANNELS if channel in channels for part in PARTS[channel]]
        if missing := [part for part in needed if part not in texts]:
            raise SettingsError(
                f"{where}/{locale}: {', '.join(missing)} is missing; a category sends this template by {', '.join(channels)}"
            )
    return {locale: _local(files, name, locale, texts) for locale, texts in found.items()}


def _local(files: TemplateFiles, name: str, locale: str, texts: Mapping[str, str]) -> LocalTemplate:
    parts: dict[str, Part] = {}
    for part, text in texts.items():
        html = part == EMAIL_HTML
        try:
            source = with_inlined_css(text, files.style_sheet) if html else text.strip()
            parts[part] = Part(source, part, html=html)
        except TemplateError as error:
            line = getattr(error, "lineno", None)
            at = "" if line is None else f", line {line}"
            raise SettingsError(f"{files.place / name / locale / part}{at}: {error.message}") from error
    hashed = blake2b(digest_size=_DIGEST_BYTES)
    for part, text in sorted({**texts, "": files.style_sheet if EMAIL_HTML in texts else ""}.items()):
        hashed.update(f"{part}\0{text}\0".encode())
    return LocalTemplate(locale, f"{locale}:{hashed.hexdigest()}", parts, _links(files.place / name / locale, parts))


def _links(where: Path, parts: Mapping[str, Part]) -> frozenset[str]:
    """Those of `LINKS` that the mail has."""
    found: set[str] = set()
    for part, compiled in parts.items():
        required, optional = compiled.variables.required & LINKS, compiled.variables.optional & LINKS
        if wrong := required if part in PARTS["email"] else required | optional:
            link = min(wrong)
            raise SettingsError(
                f"{where / part}: {link} is for mails, and not always there: write `{{% if {link} is defined %}}` around it"
            )
        found |= optional
    return frozenset(found)
