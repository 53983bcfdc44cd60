"""The dashboard escapes all text and shows problems first."""

import re
from typing import Any

import msgspec
import pytest

from notify_streams.delivery.delivery_ledger import COUNTS
from notify_streams.delivery.provider_state import ProviderState
from notify_streams.roles import ROLES
from notify_streams.web.health import Health, Recovery
from notify_streams.web.ledger import Sums, sums
from notify_streams.web.markup import Html, tag
from notify_streams.web.metric_readers import Times
from notify_streams.web.outbox import Backlog, WaitingRows
from notify_streams.web.page import PageData, WorkerRow, dashboard
from notify_streams.web.summary import EndedDeliveries, Summary
from tests.unit.web.conftest import READ_TOKEN, Visit
from tests.unit.web.view_builders import a_row

HOSTILE = "<img src=x onerror=alert(1)>\"'&"
FAST = Times(10, 0.1, 0.1, 1.0, 100.0)
WELL = Health(live=True, ready=True, stuck=[], waiting_for=[], tables=[])


def a_summary(role: str = "standard", **but: Any) -> Summary:
    summary = Summary(
        "us", role, "0.1.0", 61.0, WELL, 7, 8, True, [], {}, {}, [], FAST, {"critical": FAST}, {"fcm": FAST}
    )
    return msgspec.structs.replace(summary, **but)


def a_page(**but: Any) -> str:
    """`workers`: summaries by name."""
    content: dict[str, Any] = {"workers": dict.fromkeys(ROLES) | {"standard": a_summary()}}
    content |= {"ledger": sums([a_row()]), "outbox": Backlog(0, 0.0, [])} | but
    rows = [WorkerRow(name, summary, f"http://host/{name}") for name, summary in content.pop("workers").items()]
    return dashboard(PageData(rows, **content))


def words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


def test_text_is_escaped_and_html_is_not() -> None:
    assert tag("p", HOSTILE, Html("<b>"), title=HOSTILE) == (
        '<p title="&lt;img src=x onerror=alert(1)&gt;&quot;&#x27;&amp;">'
        "&lt;img src=x onerror=alert(1)&gt;&quot;&#x27;&amp;<b></p>"
    )


def test_no_name_from_a_topic_or_database_becomes_markup() -> None:
    hostile = a_summary(
        role=HOSTILE,
        health=Health(False, False, [HOSTILE], [HOSTILE], [Recovery(HOSTILE, 1, 1, 1.0, 1.0, False)]),
        deliveries=[EndedDeliveries(HOSTILE, "failed", HOSTILE, 1)],
        providers={HOSTILE: FAST},
        to_provider={HOSTILE: FAST},
    )
    page = a_page(
        workers={HOSTILE: hostile, "standard": a_summary()},
        ledger=sums([a_row(_id=HOSTILE, role=HOSTILE, taken=1, dead_reasons={HOSTILE: 2})]),
        outbox=Backlog(1, 1.0, [WaitingRows(HOSTILE, 0, 0, 1, 1.0)]),
    )
    assert page.count("&lt;img") >= 8
    assert "<img" not in page


def test_a_ledger_that_closes() -> None:
    assert "The ledger closes" in a_page()
    assert "8 triggers taken = 4 notified + 1 forwarded + 1 repartitioned + 1 dead + 1 duplicate + 0 waiting" in words(
        a_page()
    )


def test_the_ledgers_of_channel_roles_are_no_outcomes_of_triggers() -> None:
    push = dict.fromkeys(COUNTS, 0) | {"_id": "push:push:0", "role": "push", "first_offset": 0, "next_offset": 0}
    page = a_page(ledger=sums([a_row(), push]))
    assert "The ledger closes" in page and "push (sign-ups)" not in words(page)


@pytest.mark.parametrize(
    ("ledger", "heading"),
    [
        (sums([a_row(), a_row(_id="bad-row", taken=9)]), "does not close in 1 rows"),
        (sums([a_row()], complete=False), "Too many ledger rows"),
        (None, "The ledger is not known"),
    ],
    ids=["open", "too long", "MongoDB unavailable"],
)
def test_a_ledger_that_is_not_known_to_close(ledger: Sums | None, heading: str) -> None:
    page = a_page(ledger=ledger)
    assert heading in page
    assert "The ledger closes" not in page


def test_states_are_shown_as_text() -> None:
    stuck = a_summary(health=Health(False, True, ["push-3: stands still"], [], []))
    waits = a_summary(health=Health(True, False, [], ["preferences: 10 rows"], []))
    assert "stuck: push-3" in words(a_page(workers={"standard": stuck}))
    assert "waits for preferences: 10 rows" in words(a_page(workers={"standard": waits}))
    assert "no response" in words(a_page())
    assert "1 of 1 work without it" in words(a_page(workers={"standard": a_summary(redis_trusted=False)}))


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (ProviderState("fcm", "closed", 0.0, 3), "called"),
        (ProviderState("fcm", "closed", 0.0, 3, paused_categories=["marketing"]), "! called, but not for marketing"),
        (ProviderState("fcm", "open", 4.0, 0), "✕ not called, next probe in 4.0 s"),
        (ProviderState("fcm", "paused", 0.0, 0), "✕ paused"),
        (ProviderState("fcm", "open", 4.0, 0, {"fcm": "HTTP 401"}), "✕ fails because of the credential: HTTP 401"),
    ],
)
def test_a_provider_that_is_not_called_is_shown(state: ProviderState, shown: str) -> None:
    page = words(a_page(workers={"push": a_summary("push", provider_state=state)}))
    assert f"fcm (push) {shown} 10" in page


def test_recovery_is_shown_as_a_share() -> None:
    recovers = Health(True, False, [], ["…"], [Recovery("preferences", 30, 70, 10.0, 7.0, False)])
    page = a_page(workers={"standard": a_summary(health=recovers)})
    assert 'value="0.300"' in page
    assert "70 rows, about 7.0 s" in page


def test_deliveries_of_all_workers_are_summed() -> None:
    ended = [EndedDeliveries("push", "sent", None, 1_500), EndedDeliveries("push", "failed", "dead_token", 2)]
    page = words(
        a_page(
            workers={"push": a_summary("push", deliveries=ended), "cric_push": a_summary("cric_push", deliveries=ended)}
        )
    )
    assert "push 3,000 0 0 0 4 4 dead_token" in page


def test_the_lag_is_unknown_if_one_worker_does_not_know_its_lag() -> None:
    assert "— records" in words(a_page(workers={"standard": a_summary(), "push": a_summary("push", lag=None)}))
    assert "14 records" in words(a_page(workers={"standard": a_summary(), "push": a_summary("push")}))


def test_a_decision_slower_than_its_goal_is_marked() -> None:
    slow = a_summary(decision=Times(10, 5.0, 5.0, 5.0, 100.0))
    assert "! ≤ 5 ms" in words(a_page(workers={"standard": slow}))
    assert "! ≤" not in words(a_page())


async def test_the_page_loads_nothing_from_other_hosts(visit: Visit) -> None:
    response = await (await visit()).get("/")
    page = await response.text()
    policy = response.headers["Content-Security-Policy"]
    nonce = re.search(r"script-src 'nonce-([^']+)'", policy)
    assert nonce is not None
    assert "default-src 'none'" in policy
    assert page.count(f'nonce="{nonce[1]}"') == 2
    assert not re.search(r"""(src|href)=["'](https?:)?//(?!127\.0\.0\.1)""", page)
    assert " style=" not in page
    assert READ_TOKEN not in page
    assert "$" not in re.sub(r"<script.*?</script>", "", page, flags=re.S)
