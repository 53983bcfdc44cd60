"""`/templates`: the texts with example data, escaped, without a token."""

from __future__ import annotations

import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from devtools.stack.paths import PROJECT
from tests.browser import chromium
from tests.unit.web.conftest import Visit
from tests.waiting import until

JSON = {"Accept": "application/json"}
SCRIPT = "<script>document.title='run'</script>"


@pytest.fixture
async def client(visit: Visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of a worker with a configuration that the test may change."""
    shutil.copytree(PROJECT / "config", tmp_path / "config")
    found = await visit()
    monkeypatch.setenv("NOTIFY_CONFIG_DIR", str(tmp_path / "config"))
    return found


async def page(client: Any, path: str) -> str:
    async with client.get(path) as response:
        assert response.status == 200
        return str(await response.text())


def words(html: str) -> str:
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html)))


async def test_every_template_is_listed_with_its_locales(client: Any) -> None:
    html = await page(client, "/templates")
    assert re.findall(r'<a href="/templates/payment_received\?locale=(\w+)">', html) == ["ar", "de", "en"]
    assert words(html).count("by email, push") >= 4 and 'class="fault"' not in html
    async with client.get("/templates", headers=JSON) as response:
        found = await response.json()
    assert (found["holds"], found["problems"], len(found["templates"])) == (True, [], 15)


async def test_a_person_reads_what_the_page_shows(client: Any) -> None:
    html = await page(client, "/templates/new_device?locale=de-AT&time_zone=Europe/Vienna")
    shown = words(html)
    async with client.get("/templates/new_device?locale=de-AT&time_zone=Europe/Vienna", headers=JSON) as response:
        found = await response.json()
    texts = found["texts"]
    assert set(texts) == {"push", "sms", "email"} and found["version"].startswith("de:")
    for channel in texts:
        for part in (texts[channel]["title"], texts[channel]["body"]):
            assert part is None or re.sub(r"\s+", " ", part) in shown
    frame = re.search(r'<iframe sandbox srcdoc="([^"]*)"', html)
    assert frame is not None and unescape(frame[1]) == texts["email"]["html"]
    assert re.search(r"1 segment, GSM-7, \d+ units", shown)
    assert f"gets the text {found['version']} ." in shown


async def test_another_template_is_404(client: Any) -> None:
    async with client.get("/templates/none") as response:
        assert response.status == 404
        assert "payment_received" in (await response.json())["templates"]


async def test_a_change_and_its_fault_are_seen_without_a_restart(client: Any, tmp_path: Path) -> None:
    folder = tmp_path / "config" / "templates" / "offer"
    assert "Brandneu" not in await page(client, "/templates/offer?locale=de")
    (folder / "de" / "push.title.txt").write_text("Brandneu")

    async def is_shown() -> bool:
        return "Brandneu" in await page(client, "/templates/offer?locale=de")

    await until(is_shown)
    (folder / "sample.json").write_text("{}")

    async def is_said() -> bool:
        return "push: a template does not fit the data" in await page(client, "/templates/offer?locale=de")

    await until(is_said)
    (folder / "de" / "push.title.txt").write_text("{{ broken")

    async def is_named() -> bool:
        async with client.get("/templates") as response:
            return response.status == 500 and "push.title.txt, line 1" in words(await response.text())

    await until(is_named)


async def test_hostile_texts_are_escaped_and_no_script_runs_at_any_width(client: Any, tmp_path: Path) -> None:
    folder = tmp_path / "config" / "templates" / "offer" / "en"
    long = "x" * 200
    for file in ("push.title.txt", "push.body.txt", "email.subject.txt", "email.txt"):
        (folder / file).write_text(f"{SCRIPT}\"'><img src=x>{{{{ offer }}}} {{{{ days }}}} {long}")
    (folder / "email.html").write_text(
        f"<style>p {{ color: red }}</style><p>{SCRIPT}{{{{ offer }}}} {{{{ days }}}}</p>"
    )
    html = await page(client, "/templates/offer")
    assert "<script" not in html and "<img" not in html
    errors: list[str] = []
    async with chromium() as browser:
        view = await browser.new_page()
        view.on("console", lambda line: errors.append(line.text))
        view.on("pageerror", lambda error: errors.append(str(error)))
        await view.goto(str(client.make_url("/templates/offer?locale=en")))
        for width in (375, 1280):
            await view.set_viewport_size({"width": width, "height": 800})
            assert await view.evaluate("document.documentElement.scrollWidth") == width
        colors = []
        for scheme in ("light", "dark"):
            await view.emulate_media(color_scheme=scheme)
            colors.append(await view.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert colors == ["rgb(244, 246, 249)", "rgb(15, 19, 25)"]
        mail = view.frame_locator("iframe").locator("p")
        assert await mail.evaluate("one => getComputedStyle(one).color") == "rgb(255, 0, 0)"
        assert await view.title() == "offer · Templates · us · notify-streams"
        assert all("the document's frame is sandboxed" in line for line in errors), errors
        # By keyboard alone.
        errors.clear()
        await view.get_by_label("Locale").fill("ar")
        await view.keyboard.press("Enter")
        await view.wait_for_url("**/templates/offer?locale=ar&time_zone=UTC")
        assert await view.get_by_role("heading", name="Lock screen", level=2).count() == 1
    assert errors == []
