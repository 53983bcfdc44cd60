"""`/runbooks`: the paragraphs of docs/runbooks.md, from the package."""

from __future__ import annotations

import re

import pytest

from devtools.stack.paths import PROJECT
from notify_streams.web.pages.runbook_text import anchor, rendered, runbooks
from tests.unit.web.conftest import Visit
from tests.unit.web.test_pages import BROWSER


async def test_every_alert_has_a_paragraph_that_a_link_leads_to(visit: Visit) -> None:
    response = await (await visit()).get("/runbooks", headers=BROWSER)
    page = await response.text()
    alerts = re.findall(r"alert: (\w+)", (PROJECT / "monitoring" / "alerts.yaml").read_text())
    assert response.status == 200 and len(alerts) > 20
    assert [alert for alert in alerts if f'<h2 id="{alert.lower()}">' not in page] == []
    assert all(f'href="#{alert.lower()}"' in page for alert in alerts)
    assert page.count("<h1") == 1


def test_the_text_is_that_of_the_docs() -> None:
    found = runbooks()
    assert list(found.headings.values()) == re.findall(r"(?m)^## (.+)$", (PROJECT / "docs/runbooks.md").read_text())
    assert "**" not in found.html


def test_links_to_files_that_are_not_served_are_text() -> None:
    html = rendered("see [backup.md](backup.md), [there](#notifyrefused) and [docs](https://example.org/)").html
    assert "<em>backup.md</em>" in html and 'href="backup.md"' not in html
    assert '<a href="#notifyrefused">' in html and '<a href="https://example.org/">' in html


def test_html_is_shown_as_text() -> None:
    html = rendered("# Title\n\n## A <b>\n\n<script>alert(1)</script> [x](javascript:alert(1))").html
    assert "<script" not in html and "<b>" not in html and "Title" not in html and 'href="javascript' not in html


@pytest.mark.parametrize(
    ("heading", "found"), [("NotifyWorkerGone", "notifyworkergone"), ("What to do: `why`", "what-to-do-why")]
)
def test_anchors_are_those_of_the_site(heading: str, found: str) -> None:
    assert anchor(heading) == found
