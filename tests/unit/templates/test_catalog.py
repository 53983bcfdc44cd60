"""Which texts there are: the files, the fallback chain, the content hash, what data they need."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devtools.stack.paths import PROJECT
from notify_streams.errors import SettingsError
from notify_streams.roles import Channel
from notify_streams.templates.catalog import LocalTemplate, RenderingError, Templates
from notify_streams.templates.files import TemplateFiles

PUSH: tuple[Channel, ...] = ("push",)
GOOD = {
    "push.title.txt": "Hello {{ name }}\n",
    "push.body.txt": "{% if days is defined %}{{ days }} days{% endif %} {{ note|default('-') }} {{ amount|money }}",
}
MAIL = {"email.subject.txt": "S", "email.txt": "T", "email.html": "<p>{{ name }}</p>"}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(files: dict[str, str] = GOOD, *locales: str, name: str = "hi") -> Path:
        for locale in locales or ("en",):
            folder = tmp_path / "templates" / name / locale
            folder.mkdir(parents=True, exist_ok=True)
            for part, text in files.items():
                (folder / part).write_text(text)
        return tmp_path

    return written


def loaded(config: Path, channels: tuple[Channel, ...] = PUSH, name: str = "hi") -> Templates:
    return Templates(TemplateFiles(config), {name: channels})


def found(templates: Templates, locale: str) -> LocalTemplate:
    local = templates.in_locale("hi", locale)
    assert local is not None
    return local


@pytest.mark.parametrize(
    ("locale", "used"),
    [
        ("pt-BR", "pt-BR"),
        ("pt_br", "pt-BR"),
        ("pt-PT", "pt"),
        ("pt", "pt"),
        ("pt-BR-x-old", "pt-BR"),
        ("zh-Hant-TW", "zh-Hant"),
        ("zh-Hans", "en"),
        ("fr", "en"),
        ("en-GB", "en"),
        ("", "en"),
    ],
)
def test_a_person_without_texts_of_their_own_reads_the_nearest(write: Write, locale: str, used: str) -> None:
    templates = loaded(write(GOOD, "en", "pt", "pt-BR", "zh-Hant"))
    assert found(templates, locale).locale == used


def test_the_numbers_are_the_persons_if_the_text_is_in_their_language(write: Write) -> None:
    local = found(loaded(write(GOOD, "en", "de")), "de")
    text = {at: local.render("push", at, "UTC", {"name": "A", "amount": 1234.5}).body for at in ("de", "de-CH", "fr")}
    assert text == {"de": " - 1.234,50", "de-CH": " - 1'234.50", "fr": " - 1.234,50"}


def test_what_the_data_must_have(write: Write) -> None:
    config = write(GOOD)
    write(GOOD | {"push.title.txt": "{{ nickname }}"}, "de")
    write(MAIL, "en", "de")
    templates = loaded(config, ("push", "email"))
    assert templates.required("hi", ["push"]) == {"name", "nickname", "amount"}
    assert templates.required("hi", ["email"]) == {"name"}
    assert templates.required("hi", []) == frozenset()


def test_null_counts_as_absent(write: Write) -> None:
    local = found(loaded(write()), "en")
    assert local.render("push", "en", "UTC", {"name": "A", "amount": 1, "days": None}).body == " - 1.00"
    with pytest.raises(RenderingError):
        local.render("push", "en", "UTC", {"name": None, "amount": 1})


def test_a_title_that_no_subject_can_hold_is_refused(write: Write) -> None:
    local = found(loaded(write()), "en")
    with pytest.raises(RenderingError, match="too long"):
        local.render("push", "en", "UTC", {"name": "x" * 1000, "amount": 1})


@pytest.mark.parametrize("changed", ["hi/en/push.body.txt", "hi/en/email.html", "email.css"])
def test_the_hash_changes_with_a_file(write: Write, changed: str) -> None:
    config = write(GOOD | MAIL)
    write(GOOD | MAIL, "de")
    before = found(loaded(config), "en").version
    assert found(loaded(config), "en").version == before
    with (config / "templates" / changed).open("a") as file:
        file.write("p { margin: 0 }")
    after = loaded(config)
    assert found(after, "en").version != before
    assert before.startswith("en:") and len(before) == 15


def test_another_locales_hash_does_not_change(write: Write) -> None:
    config = write(GOOD, "en", "de")
    before = found(loaded(config), "de").version
    write(GOOD | {"push.title.txt": "Hi"}, "en")
    assert found(loaded(config), "de").version == before


def test_a_mail_names_the_links_that_it_has_and_asks_the_sender_for_none(write: Write) -> None:
    footer = "{% if preferences_url is defined %}{{ preferences_url }}{% endif %}"
    local = loaded(write(GOOD | MAIL | {"email.html": f"<p>{footer}</p>"}), ("push", "email"))
    assert found(local, "en").links == {"preferences_url"}
    assert local.required("hi", ["email"]) == frozenset()
    assert found(loaded(write(GOOD | MAIL)), "en").links == frozenset()


WRONG: dict[str, tuple[Callable[[Write], Any], str]] = {
    "no such template": (lambda write: write(name="other"), "hi/en does not exist"),
    "no text in the default locale": (lambda write: write(GOOD, "de"), "hi/en does not exist"),
    "a missing file": (lambda write: write({"push.title.txt": "T"}), "en: push.body.txt is missing"),
    "a missing file of one locale": (
        lambda write: (write(), write({"push.title.txt": "T"}, "de")),
        "de: push.body.txt is missing",
    ),
    "a misspelt file": (lambda write: write(GOOD | {"puhs.title.txt": "T"}), "puhs.title.txt: no file of a template"),
    "an unknown locale": (lambda write: (write(), write(GOOD, "xx")), "xx: CLDR has no such locale"),
    "a folder that is no locale": (lambda write: write(GOOD, "en", "e"), "not <name>/<locale>/<file>"),
    "a syntax error": (lambda write: write(GOOD | {"push.body.txt": "a\n{{ b"}), "push.body.txt, line 2"),
    "a link that may be absent": (
        lambda write: write(GOOD | MAIL | {"email.txt": "{{ unsubscribe_url }}"}),
        "email.txt: unsubscribe_url is for mails, and not always there",
    ),
    "a link in a push": (
        lambda write: write(GOOD | {"push.body.txt": "{{ preferences_url|default('') }}"}),
        "push.body.txt: preferences_url is for mails",
    ),
    "an unknown filter": (lambda write: write(GOOD | {"push.body.txt": "{{ a|moneys }}"}), "No filter named 'moneys'"),
}


@pytest.mark.parametrize(("prepare", "says"), WRONG.values(), ids=WRONG.keys())
def test_what_cannot_be_used_stops_the_start(write: Write, tmp_path: Path, prepare: Any, says: str) -> None:
    prepare(write)
    with pytest.raises(SettingsError) as refused:
        loaded(tmp_path)
    assert says in str(refused.value) and str(tmp_path) in str(refused.value)


def test_dots_stand_for_slashes_where_there_are_no_folders(tmp_path: Path) -> None:
    folders, flat = PROJECT / "config", tmp_path / "flat"
    flat.mkdir()
    for path in (folders / "templates").rglob("*.*"):
        if path.is_file():
            shutil.copy(path, flat / ".".join(path.relative_to(folders).parts))
    expected, found = TemplateFiles(folders), TemplateFiles(flat)
    assert (found.texts, found.samples, found.style_sheet) == (expected.texts, expected.samples, expected.style_sheet)
    assert len(found.texts) == 5
