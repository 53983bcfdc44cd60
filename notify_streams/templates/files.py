"""Finds the files of templates beside ``categories.yaml``.

They are ``templates/<name>/<locale>/<part>``, ``templates/<name>/sample.json`` and ``templates/email.css``.
Where a folder cannot hold folders (a ConfigMap of Kubernetes), a dot stands for each slash: ``templates.<name>.<locale>.<part>``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from notify_streams.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from notify_streams.roles import Channel

PUSH_TITLE: Final = "push.title.txt"
PUSH_BODY: Final = "push.body.txt"
SMS: Final = "sms.txt"
EMAIL_SUBJECT: Final = "email.subject.txt"
EMAIL_TEXT: Final = "email.txt"
EMAIL_HTML: Final = "email.html"
#: The files of each channel; all of them are needed.
PARTS: Final[dict[Channel, tuple[str, ...]]] = {
    "push": (PUSH_TITLE, PUSH_BODY),
    "sms": (SMS,),
    "email": (EMAIL_SUBJECT, EMAIL_TEXT, EMAIL_HTML),
}
_FOLDER: Final = "templates"
_STYLE_SHEET: Final = "email.css"
_SAMPLE: Final = "sample.json"
#: A dot separates the parts of a flat name.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\Z")
_LOCALE: Final = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*\Z")


class TemplateFiles:
    """The files of all templates in a folder of settings, read once.

    Raises:
        SettingsError: a file cannot be read, or has no meaning.
    """

    def __init__(self, config: Path) -> None:
        self.place = config / _FOLDER
        #: name → locale → part → content
        self.texts: dict[str, dict[str, dict[str, str]]] = {}
        #: name → the data of the template's example
        self.samples: dict[str, bytes] = {}
        #: The rules for every mail.
        self.style_sheet = ""
        for path, steps in _found(config):
            self._add(path, steps)

    def _add(self, path: Path, steps: tuple[str, ...]) -> None:
        match steps:
            case (name,) if name == _STYLE_SHEET:
                self.style_sheet = _text(path)
            case (name, sample) if sample == _SAMPLE and _NAME.match(name):
                self.samples[name] = _text(path).encode()
            case (name, locale, part) if _NAME.match(name) and _LOCALE.match(locale):
                if not any(part in parts for parts in PARTS.values()):
                    known = ", ".join(part for parts in PARTS.values() for part in parts)
                    raise SettingsError(f"{path}: no file of a template has this name; they are {known}")
                self.texts.setdefault(name, {}).setdefault(locale, {})[part] = _text(path)
            case _:
                raise SettingsError(
                    f"{path}: not <name>/<locale>/<file>, <name>/{_SAMPLE} or {_STYLE_SHEET}; a name has letters, digits, - and _, "
                    "a locale is a BCP 47 tag such as pt-BR"
                )


def _found(config: Path) -> list[tuple[Path, tuple[str, ...]]]:
    """Each file, and its place below the folder of templates."""
    folder = config / _FOLDER
    if folder.is_dir():
        files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
        return [(path, path.relative_to(folder).parts) for path in sorted(files)]
    flat = sorted(config.glob(f"{_FOLDER}.*"))
    return [(path, _steps(path.name.removeprefix(f"{_FOLDER}."))) for path in flat]


def _steps(flat: str) -> tuple[str, ...]:
    if flat == _STYLE_SHEET:
        return (flat,)
    name, _, rest = flat.partition(".")
    return (name, rest) if rest == _SAMPLE else (name, *rest.split(".", 1))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}") from error
