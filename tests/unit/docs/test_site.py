"""The site of `docs/` builds without a warning, needs no other host, and every page that anything names is there."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from devtools.stack.paths import PROJECT
from tests.unit.architecture.test_words import texts

if TYPE_CHECKING:
    from pathlib import Path

DOCS = PROJECT / "docs"
#: What a browser loads by itself; links that a reader follows may lead anywhere.
LOADED = re.compile(
    r"""<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=["']?(https?:[^"' >]+)|url\((https?:[^)]+)\)"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(build, cwd=PROJECT, env={"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_the_site_has_every_page_without_a_broken_link(site: Path) -> None:
    pages = {page.relative_to(DOCS).with_suffix("") for page in DOCS.rglob("*.md")}
    made = {page.relative_to(site).with_suffix("") for page in site.rglob("*.html")}
    assert {page.with_name("index") if page.name == "README" else page for page in pages} <= made


def test_a_page_loads_nothing_from_another_host(site: Path) -> None:
    files = [file for file in site.rglob("*") if file.suffix in (".html", ".css")]
    assert {found for file in files for found in LOADED.findall(file.read_text())} == set()


def test_the_search_works_without_a_server(site: Path) -> None:
    assert (site / "search" / "search_index.js").read_text().startswith("var __index = ")


@pytest.mark.parametrize("file", ["README.md", "CHANGELOG.md", "k8s/README.md", "notify_streams/transport/README.md"])
def test_a_link_of_a_page_outside_of_the_site_leads_to_a_heading(file: str) -> None:
    page = PROJECT / file
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text()):
        found = page.parent / target if target else page
        assert found.exists(), (file, target)
        assert not anchor or anchor in _anchors(found), (file, target, anchor)


def test_every_page_that_a_file_names_is_there() -> None:
    named = {
        (str(file.relative_to(PROJECT)), name)
        for file in texts()
        for name in re.findall(r"(?<![\w/.])docs/[\w./-]+\.md", file.read_text())
    }
    assert len(named) > 20
    assert [(file, name) for file, name in sorted(named) if not (PROJECT / name).exists()] == []


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
