"""Each equation of the books is a check of the audit: a count that is wrong by one is a difference (R5)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from notify_streams.admin.audit.compare import compare
from notify_streams.admin.audit.region_part import RegionPart
from notify_streams.admin.audit.snapshot import DeliverySnapshot, Extent, ProviderAcceptance, RegionSnapshot
from notify_streams.admin.audit.totals import RegionTotals
from notify_streams.delivery.delivery_ledger import COUNTS
from notify_streams.outbox.flush_plan import COUNTED, POSITIONS
from tests.builders import some_settings

TOPIC = "triggers.payments"
PUSH = dict.fromkeys(COUNTS, 0) | {
    "taken": 20,
    "fresh": 18,
    "duplicate": 1,
    "foreign": 1,
    "sent": 8,
    "failed": 2,
    "suppressed": 1,
    "expired": 1,
    "retrying": 6,
    "replayed": 1,
    "resolved_sent": 2,
    "resolved_failed": 1,
    "resolved_expired": 1,
}
ROUTER = dict.fromkeys((*POSITIONS, *COUNTED.values()), 0) | {"taken": 20, "notified": 18, "waiting": 2}


def differences(**but: Any) -> set[str]:
    """`but`: `push_…` or `router_…` with the amount that is added to a count, or another number of timers."""
    push, router = dict(PUSH), dict(ROUTER)
    queued = 18 + but.pop("queued", 0)
    timers = 3 + but.pop("timers", 0)
    for name, amount in but.items():
        ledger, _, count = name.partition("_")
        (push if ledger == "push" else router)[count] += amount
    places = {"partition": 3, "bucket": 3, "first_offset": 0, "next_offset": 20}
    snapshot = RegionSnapshot(
        "us",
        [
            push | places | {"_id": "push:push:3", "role": "push", "topic": "push"},
            router
            | places
            | {"_id": f"standard:{TOPIC}:3", "role": "standard", "topic": TOPIC, "queued": {"push": queued}},
        ],
        {("push", 3): Extent(0, 20)},
        notifications=18,
    )
    snapshot.timers["push", 3] = timers
    snapshot.timers["standard", 3] = 2
    return {one.check for one in compare(some_settings(), snapshot, RegionTotals())}


def test_books_that_close_have_no_difference() -> None:
    assert differences() == set()


@pytest.mark.parametrize(
    ("but", "check"),
    [
        *(({f"push_{one}": 1}, "ledger sums") for one in ("taken", "fresh", "duplicate", "foreign", "sent", "failed")),
        *(({f"push_{one}": 1}, "ledger sums") for one in ("suppressed", "expired", "retrying", "holes")),
        *(
            ({f"push_resolved_{one}": 1}, "ledger against timers")
            for one in ("sent", "failed", "suppressed", "expired")
        ),
        ({"push_replayed": 1}, "ledger against timers"),
        ({"timers": 1}, "ledger against timers"),
        ({"timers": -1}, "ledger against timers"),
        ({"queued": 1}, "queued against delivered"),
        ({"queued": -1}, "queued against delivered"),
        ({"push_lost": 1}, "deleted before it was read"),
        *(({f"router_{one}": 1}, "ledger sums") for one in ("taken", "notified", "forwarded", "dead", "duplicate")),
        ({"router_waiting": 1, "router_taken": 1, "router_holes": -1}, "ledger against waiting triggers"),
    ],
    ids=lambda value: value if isinstance(value, str) else ",".join(f"{name}{by:+}" for name, by in value.items()),
)
def test_a_count_that_is_wrong_by_one_is_a_difference(but: dict[str, int], check: str) -> None:
    assert check in differences(**but)


@pytest.mark.parametrize("state", ["failed", "expired", "suppressed"])
@pytest.mark.parametrize("in_doubt", [True, False])
def test_a_call_in_doubt_may_have_been_accepted_however_the_delivery_ended(state: str, in_doubt: bool) -> None:
    snapshot, totals = RegionSnapshot("us", has_log=True), RegionTotals()
    delivery = DeliverySnapshot(state, 2, None, 0.0, in_doubt)
    accepted = {"n.push": ProviderAcceptance(1, ("sha",))}
    totals.add(snapshot, RegionPart({"push": {"n.push": delivery}}, {"push": Counter(["n.push"])}, accepted=accepted))
    checks = {one.check for one in compare(some_settings(), snapshot, totals)}
    assert ("accepted but not sent" in checks) is not in_doubt


@pytest.mark.parametrize("role", ["push", "standard"])
def test_a_ledger_that_is_gone_though_its_worker_has_committed_is_a_difference(role: str) -> None:
    topic = TOPIC if role == "standard" else role
    snapshot = RegionSnapshot("us", extents={(topic, 3): Extent(0, 20)}, committed={(role, topic, 3): 20})
    found = [one for one in compare(some_settings(), snapshot, RegionTotals()) if not one.in_flight]
    assert [(one.check, one.where, one.expected, one.found) for one in found] == [
        ("committed without a ledger", f"{role}:{topic}:3", 20, 0)
    ]


def test_a_ledger_that_no_worker_has_opened_yet_is_no_difference() -> None:
    snapshot = RegionSnapshot("us", extents={("push", 3): Extent(0, 20)})
    assert all(one.in_flight for one in compare(some_settings(), snapshot, RegionTotals()))
