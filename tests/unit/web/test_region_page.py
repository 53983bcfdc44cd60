"""The region's page: the verdict first, every worker, totals; what is shown without JavaScript."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import msgspec
import pytest

from notify_streams.delivery.provider_state import ProviderState
from notify_streams.roles import ROLES
from notify_streams.web.pages.region_page import SECTIONS, kind_of, providers, sections
from notify_streams.web.verdict.collector import region_collector
from notify_streams.web.verdict.region_status import RegionStatus, Series, Totals
from tests.unit.web.conftest import NewWorker, Visit
from tests.unit.web.sample_region import (
    FAST,
    KAFKA,
    NOW,
    PAST,
    REDIS,
    a_bad_status,
    a_status,
    a_summary,
    a_worker,
    some_totals,
)
from tests.unit.web.test_pages import BROWSER, HOSTILE


def words(html: str) -> str:
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html)))


def section(name: str, status: RegionStatus) -> str:
    return words(sections(status)[name])


async def page_of(visit: Visit, new_worker: NewWorker, status: RegionStatus | None) -> str:
    worker = new_worker()
    region_collector(worker).status = status
    response = await (await visit(worker)).get("/", headers=BROWSER)
    assert response.status == 200
    return await response.text()


async def test_the_first_line_is_the_verdict(visit: Visit, new_worker: NewWorker) -> None:
    page = await page_of(visit, new_worker, a_bad_status())
    assert words(re.findall(r"<h1>(.*?)</h1>", page)[0]).strip() == f"✕ {KAFKA.text}"
    assert page.count("<h1") == 1
    title = re.search(r"<title>(.*?)</title>", page)
    assert title is not None and unescape(title[1]) == f"✕ {KAFKA.text} · us · notify-streams"


async def test_before_the_first_observation_the_page_says_so_and_reloads(visit: Visit, new_worker: NewWorker) -> None:
    page = await page_of(visit, new_worker, None)
    assert "has just started" in page and 'http-equiv="refresh"' in page


async def test_without_javascript_the_page_reloads_itself(visit: Visit, new_worker: NewWorker) -> None:
    page = await page_of(visit, new_worker, a_status())
    assert '<noscript><meta http-equiv="refresh" content="15"></noscript>' in page
    assert all(f'<div id="s-{name}">' in page for name in SECTIONS)
    assert "<script nonce=" in page and " style=" not in page and " onclick=" not in page


async def test_an_old_verdict_is_said_to_be_old(visit: Visit, new_worker: NewWorker) -> None:
    assert "not observed since 03:04:05 UTC" in words(await page_of(visit, new_worker, a_status()))
    verdict = msgspec.structs.replace(a_status().verdict, at=datetime.now(UTC))
    assert "as of" in words(await page_of(visit, new_worker, a_status(verdict=verdict)))


async def test_other_workers_and_clients_get_the_summary_as_json(visit: Visit, new_worker: NewWorker) -> None:
    response = await (await visit()).get("/", headers={"Accept": "application/json"})
    assert (await response.json())["role"] == "views"


@pytest.mark.parametrize(
    ("status", "kind"), [(a_status(), "good"), (a_status([REDIS]), "warn"), (a_status([REDIS, KAFKA]), "bad")]
)
def test_the_worst_problem_decides_how_the_verdict_looks(status: RegionStatus, kind: str) -> None:
    assert kind_of(status) == kind
    assert f'class="verdict {kind}"' in sections(status)["verdict"]


def test_each_problem_has_its_cause_its_time_what_to_do_and_a_runbook() -> None:
    html = sections(a_bad_status())["problems"]
    text = words(html)
    assert f"{KAFKA.text} Kafka, since" in text and "(4 min 12 s)" in text
    assert "<code>notify-streams doctor</code>" in html and '<a href="/runbooks#notifykafkasilent">' in html
    assert text.index(KAFKA.text) < text.index(REDIS.text) < text.index("In the last hour") < text.index(PAST.text)
    assert "(1 min 30 s)" in text


def test_nothing_wrong_is_said() -> None:
    assert "Nothing is wrong." in section("problems", a_status())


def test_every_worker_is_shown_and_those_with_a_problem_first() -> None:
    text = section("workers", a_status())
    assert all(f" {role} 10.0.0.7:{6066 + place} ✓ ready" in text for place, role in enumerate(ROLES))
    bad = section("workers", a_bad_status())
    assert bad.index("gone") < bad.index("views") and "✕ gone its address refuses connections" in bad
    assert "✕ stuck triggers.security-3 stands still" in bad and "! waits preferences: 10 rows; shard 1" in bad


def test_an_address_of_ipv6_is_in_brackets() -> None:
    assert "[2001:db8::7]:6066" in section("workers", a_status(workers=[a_worker("critical", host="2001:db8::7")]))


def test_totals_do_not_need_the_workers() -> None:
    status = a_status(workers=[])
    assert "notified 1,101,900 91.5%" in section("triggers", status)
    assert "not_json 39,000" in section("triggers", status)
    assert "push 1,100,210 412 30,001 12 4" in section("deliveries", status)
    assert "Lag 1,204 records, most of them of push" in section("tiles", status)


def test_what_is_not_known_is_a_dash_or_a_sentence() -> None:
    status = a_status(totals=Totals(None, None, {}, {}, {}, None, None, {}), series=[], workers=[])
    assert "Not known: MongoDB does not respond." in section("triggers", status)
    assert "Outbox — not known" in section("tiles", status) and "Ledger — not known" in section("tiles", status)
    assert "No value is known yet." in section("charts", status)
    assert "No trigger was processed yet." in section("triggers", a_status(totals=some_totals(triggers={"taken": 0})))


def test_a_ledger_that_closes_is_not_good_if_kafka_lost_triggers() -> None:
    triggers = some_totals().triggers | {"lost": 1200}
    tiles = section("tiles", a_status(totals=some_totals(triggers=triggers)))
    assert "1,200 triggers were lost by Kafka" in tiles and "each trigger has one outcome" not in tiles


def test_counts_that_cannot_be_read_any_more_are_said_to_be_old() -> None:
    """A shard is away: that the ledger closed before says nothing about now."""
    before = NOW - timedelta(seconds=11)
    old = a_status(totals=some_totals(at=before))
    tiles, at = section("tiles", old), f"{before:%H:%M:%S} UTC"
    assert f"Ledger — not known: it was closed at {at}" in tiles and f"1,204,411 in all at {at}" in tiles
    for name in ("triggers", "deliveries"):
        assert f"{before:%H:%M:%S} UTC: MongoDB does not respond since" in section(name, old)
        assert "does not respond since" not in section(name, a_status())
    assert "is open" in section("tiles", a_status(totals=some_totals(at=before, closes=False)))


def test_an_outbox_that_is_not_empty_has_an_age() -> None:
    totals = some_totals(outbox_rows=12, outbox_oldest_s=95.0)
    assert "Outbox 12 rows, the oldest 1 min 35 s old" in section("tiles", a_status(totals=totals))


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (ProviderState("fcm", "closed", 0.0, 3), ("good", "called")),
        (
            ProviderState("fcm", "closed", 0.0, 3, paused_categories=["marketing"]),
            ("warn", "called, but not for marketing"),
        ),
        (ProviderState("fcm", "open", 4.0, 0), ("bad", "not called, next probe in 4.0 s")),
        (ProviderState("fcm", "paused", 0.0, 0), ("bad", "paused")),
        (
            ProviderState("fcm", "open", 4.0, 0, {"fcm": "HTTP 401"}),
            ("bad", "fails because of the credential: HTTP 401"),
        ),
        (None, ("off", "—")),
    ],
)
def test_a_provider_that_is_not_called_is_shown(state: ProviderState | None, shown: tuple[str, str]) -> None:
    worker = a_worker("push", summary=a_summary("push", provider_state=state, providers={"fcm": FAST}))
    (row,) = providers([worker])
    assert (row.kind, row.state) == shown and (row.provider, row.worker, row.calls) == ("fcm", "push", "10")


def test_no_name_from_a_topic_a_worker_or_a_database_becomes_markup() -> None:
    problem = msgspec.structs.replace(KAFKA, text=HOSTILE, about=HOSTILE, todo=f"`{HOSTILE}`", runbook=HOSTILE)
    past = msgspec.structs.replace(PAST, text=HOSTILE, about=HOSTILE, runbook=HOSTILE)
    provider = ProviderState(HOSTILE, HOSTILE, 0.0, 0)
    summary = a_summary(HOSTILE, providers={HOSTILE: FAST}, provider_state=provider)
    worker = a_worker(HOSTILE, reasons=[HOSTILE], host=HOSTILE, version=HOSTILE, summary=summary)
    states: dict[str, Any] = dict.fromkeys(("sent", "failed", "suppressed", "expired", "open"), 1)
    status = a_status(
        [problem],
        workers=[worker],
        totals=some_totals(dead_reasons={HOSTILE: 1}, deliveries={HOSTILE: states}, lag={HOSTILE: 1}),
        series=[Series("lag", HOSTILE, {"role": HOSTILE}, [(int(NOW.timestamp()), 1.0)])],
    )
    verdict = msgspec.structs.replace(status.verdict, headline=HOSTILE, last_hour=[past])
    html = "".join(sections(msgspec.structs.replace(status, verdict=verdict)).values())
    assert html.count("&lt;img") >= 15
    assert "<img" not in html and not re.search(r'"[^"<>]*onerror[^"]*"[^>]*onerror', html)
