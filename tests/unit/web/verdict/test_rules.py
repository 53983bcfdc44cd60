"""Each kind of problem is found by its signs, and by nothing else; causes come before their effects."""

from __future__ import annotations

import re
from typing import Any

import pytest

from devtools.stack.paths import PROJECT
from notify_streams.web.ledger import Sums
from notify_streams.web.verdict.problem import ProblemCode
from notify_streams.web.verdict.remedies import ORDER, REMEDIES
from notify_streams.web.verdict.rules import headline, problems_of
from tests.unit.web.verdict.observations import (
    a_backlog,
    a_region,
    a_worker,
    calls,
    down,
    some_rates,
    some_sums,
    with_provider,
)

C = ProblemCode
STALLED = [{"what": "triggers.payments-3", "reason": "its position does not move", "for_s": 18.0}]
MANY_STALLED = [STALLED[0] | {"what": f"push-{number}"} for number in range(4)]
NOT_READY = {"live": True, "ready": False, "stuck": [], "waiting_for": [], "tables": []}

CASES: dict[str, tuple[dict[str, Any], ProblemCode, str, str]] = {
    "kafka": ({"services": [down(C.KAFKA_DOWN, "Kafka")]}, C.KAFKA_DOWN, "Kafka", "does not respond"),
    "shard": ({"services": [down(C.SHARD_DOWN, "shard 1")]}, C.SHARD_DOWN, "shard 1", "does not respond"),
    "redis": ({"services": [down(C.REDIS_DOWN, "Redis")]}, C.REDIS_DOWN, "Redis", "does not respond"),
    "dynamodb": ({"services": [down(C.DYNAMODB_DOWN, "DynamoDB")]}, C.DYNAMODB_DOWN, "DynamoDB", "does not respond"),
    "dynamodb, seen by a worker": (
        {"workers": [a_worker("registry", summary={"failing": {"registry.register": 9.0}})], "roles": []},
        C.DYNAMODB_DOWN,
        "DynamoDB",
        "registry.register",
    ),
    "a refused password": (
        {"services": [down(C.REDIS_DOWN, "Redis", refused=True)]},
        C.REFUSED,
        "Redis",
        "does not respond",
    ),
    "a worker's password": (
        {"workers": [a_worker(summary={"refused": ["Redis at r:1 refuses the user name"]})], "roles": []},
        C.REFUSED,
        "Redis at r:1",
        "refuses the user name",
    ),
    "a credential": (
        {"workers": [with_provider("open", credential_problems={"fcm": "HTTP 401"})], "roles": []},
        C.CREDENTIAL,
        "provider fcm",
        "HTTP 401",
    ),
    "the key for a platform": (
        {"workers": [with_provider("closed", platform_problems={"fcm": "HTTP 401"})], "roles": []},
        C.PLATFORM_KEY,
        "provider fcm",
        "no valid key of ours for one platform (HTTP 401)",
    ),
    "503": (
        {"rates": some_rates(providers={"fcm": calls(4, HTTP_503=40, TimeoutError=2)})},
        C.PROVIDER_FAILING,
        "provider fcm",
        "40 of the last 46 calls ended with HTTP 503",
    ),
    "an open breaker": (
        {"workers": [with_provider("open")], "roles": [], "rates": None},
        C.PROVIDER_FAILING,
        "provider fcm",
        "open on 1 of 1 workers",
    ),
    "a provider that hangs": (
        {"rates": some_rates(providers={"fcm": calls(TimeoutError=8)})},
        C.PROVIDER_HANGING,
        "provider fcm",
        "no answer in time",
    ),
    "a pause": (
        {"workers": [with_provider("paused")], "roles": []},
        C.PROVIDER_PAUSED,
        "provider fcm",
        "an operator has paused it",
    ),
    "a worker gone": (
        {
            "workers": [a_worker("push", state="gone", summary=None, reasons=["its address refuses connections"])],
            "roles": [],
        },
        C.WORKER_GONE,
        "worker push at 127.0.0.3:6071",
        "is gone: its address refuses connections. No other worker of its role runs.",
    ),
    "a role without workers": ({"roles": ["standard", "push", "sms"]}, C.ROLE_MISSING, "role sms", "No worker"),
    "a process that hangs": (
        {"workers": [a_worker("push", state="stuck", summary=None, reasons=["it accepts connections"])], "roles": []},
        C.AGENT_STUCK,
        "worker push at 127.0.0.3:6071",
        "accepts connections",
    ),
    "an agent that hangs": (
        {"workers": [a_worker(summary={"stalled": MANY_STALLED})], "roles": []},
        C.AGENT_STUCK,
        "worker push at 127.0.0.3:6071",
        "push-0, push-1, push-2 and 1 more",
    ),
    "a poison partition": (
        {"workers": [a_worker("standard", summary={"stalled": STALLED})], "roles": []},
        C.PARTITION_STUCK,
        "triggers.payments-3",
        "its position does not move",
    ),
    "a cut link": (
        {"workers": [a_worker("forward", summary={"links": [{"region": "eu", "failing_s": 12.0}]})], "roles": []},
        C.LINK_CUT,
        "link to eu",
        "Region eu has not accepted triggers for 12 s",
    ),
    "a cut link without traffic": (
        {"workers": [a_worker("forward", summary={"unreachable": ["eu"]})], "roles": []},
        C.LINK_CUT,
        "link to eu",
        "control log of region eu",
    ),
    "a clock": (
        {"clocks": {"shard 0": 0.0, "shard 1": 0.1, "worker push at h:1": 300.0}},
        C.CLOCK,
        "clock of worker push at h:1",
        "5 min 0 s ahead of the others'",
    ),
    "this machine's clock": (
        {"clocks": {"shard 0": 60.0, "shard 1": 60.1, "worker push at h:1": 60.2}},
        C.CLOCK,
        "clock of this machine",
        "1 min 0 s behind",
    ),
    "lost records": (
        {"lost": {"standard": 1200}},
        C.RECORDS_LOST,
        "role standard",
        "Kafka deleted 1,200 records before the role standard had read them",
    ),
    "an open ledger": ({"ledger": some_sums("push:push:1")}, C.LEDGER_OPEN, "ledger", "push:push:1"),
    "a failing call": (
        {"workers": [a_worker(summary={"failing": {"delivery.settle": 20.0}})], "roles": []},
        C.CALL_FAILING,
        "call delivery.settle",
        "delivery.settle of worker push at 127.0.0.3:6071 has failed at every attempt for 20 s",
    ),
    "dead letters": (
        {"rates": some_rates(dead={"invalid": 30, "unknown_user": 2})},
        C.DEAD_LETTERS,
        "dead letters",
        "32 of 300 triggers became dead letters in 30 s, most as invalid",
    ),
    "failed deliveries": (
        {"rates": some_rates(ended={"push": 400}, failed={"push": 40})},
        C.DELIVERY_FAILURES,
        "push",
        "40 of 400 deliveries by push failed",
    ),
    "slow": ({"rates": some_rates(critical_p99_s=3.0)}, C.CRITICAL_SLOW, "critical messages", "longer than 3.0 s"),
    "slow, with a role that is behind": (
        {"rates": some_rates(critical_p99_s=3.0), "lag": {"critical": 7, "cric_sms": 400, "push": 9_000}},
        C.CRITICAL_SLOW,
        "critical messages",
        "The role cric_sms is 400 records behind.",
    ),
    "an old outbox": ({"outbox": a_backlog(1200, 25.0)}, C.OUTBOX_AGE, "outbox", "1,200 decided messages wait"),
    "late retries": ({"overdue_s": 31.0}, C.TIMERS_LATE, "timers", "31 s"),
    "lag": ({"lag": {"push": 9000}, "lag_before": {"push": 5000}}, C.LAG, "role push", "9,000 records behind"),
    # An hour after a role has begun to fall behind by 1,500 a minute the share of a minute is small.
    "a lag that grows at a steady pace": (
        {"lag": {"push": 90_000}, "lag_before": {"push": 88_500}},
        C.LAG,
        "role push",
        "1,500 more than before",
    ),
    "databases that cannot be read": (
        {"ledger": None, "outbox": None, "overdue_s": None, "rates": None, "lag": {}, "clocks": {}},
        C.NOT_KNOWN,
        "databases",
        "MongoDB answers, but the whole ledger and the outbox and the retries that are due could not be read",
    ),
    "a ledger of too many rows": (
        {"ledger": Sums(False, False, 20_000, [], {}, {}, {})},
        C.NOT_KNOWN,
        "databases",
        "but the whole ledger could not be read",
    ),
    "not ready": (
        {"workers": [a_worker(state="waiting", reasons=["table contacts recovers"])], "roles": []},
        C.WORKER_NOT_READY,
        "worker push at 127.0.0.3:6071",
        "table contacts recovers",
    ),
}


@pytest.mark.parametrize(("seen", "code", "about", "words"), CASES.values(), ids=CASES)
def test_a_problem_is_found_by_its_signs(seen: dict[str, Any], code: ProblemCode, about: str, words: str) -> None:
    (found,) = problems_of(a_region(**seen))
    assert (found.code, found.about) == (code, about)
    assert words in found.text and not found.text[0].islower() and found.text.endswith("."), found.text


def test_every_kind_has_a_case_and_a_healthy_region_has_no_problem() -> None:
    assert {code for _, code, _, _ in CASES.values()} == set(ProblemCode)
    assert problems_of(a_region()) == []


BELOW: dict[str, dict[str, Any]] = {
    "half of the calls answer": {"rates": some_rates(providers={"fcm": calls(20, HTTP_503=19)})},
    "few calls fail": {"rates": some_rates(providers={"fcm": calls(HTTP_503=4)})},
    "p99 within the limit": {"rates": some_rates(critical_p99_s=2.0)},
    "few dead letters": {"rates": some_rates(dead={"invalid": 8})},
    "few failed deliveries": {"rates": some_rates(ended={"push": 400}, failed={"push": 25})},
    "a lag that falls": {"lag": {"push": 9000}, "lag_before": {"push": 9500}},
    "a lag that is worked off slowly": {"lag": {"push": 90_000}, "lag_before": {"push": 89_500}},
    "a small lag": {"lag": {"push": 900}, "lag_before": {"push": 1}},
    "a short stop": {"workers": [a_worker(summary={"stalled": [STALLED[0] | {"for_s": 14.0}]})], "roles": []},
    "a clock that is kept": {"clocks": {"shard 0": 4.9}},
    "a call that has just failed": {"workers": [a_worker(summary={"failing": {"store": 14.0}})], "roles": []},
    "positions that wait for a provider": {
        "workers": [
            a_worker(summary={"stalled": MANY_STALLED, "provider_state": {**OPEN, "state": "recovering"}})
            for OPEN in [{"provider": "fcm", "open_for_s": 0.0, "calls": 0}]
        ],
        "roles": [],
    },
    "no rate, lag and clock is known yet": {"rates": None, "lag": {}, "clocks": {}},
}


@pytest.mark.parametrize("seen", BELOW.values(), ids=BELOW)
def test_signs_below_the_limit_are_no_problem(seen: dict[str, Any]) -> None:
    assert problems_of(a_region(**seen)) == []


@pytest.mark.parametrize("refused", [False, True])
def test_a_shard_that_is_away_explains_that_databases_cannot_be_read(refused: bool) -> None:
    unread = {"ledger": None, "outbox": None, "overdue_s": None}
    (found,) = problems_of(a_region(services=[down(C.SHARD_DOWN, "shard 1", refused=refused)], **unread))
    assert found.about == "shard 1"


@pytest.mark.parametrize("lag", [{}, {"critical": 0, "cric_sms": 0}, {"critical": 0, "push": 900}])
def test_beside_slow_critical_messages_no_role_is_named_that_they_do_not_wait_for(lag: dict[str, int]) -> None:
    (found,) = problems_of(a_region(rates=some_rates(critical_p99_s=3.0), lag=lag))
    assert found.code is C.CRITICAL_SLOW and found.text.endswith("the limit is 2.0 s.")


def test_while_kafka_is_away_nothing_of_a_worker_that_answers_is_stuck() -> None:
    """Nothing can be read or committed: to restart workers, or to look at a partition's next record, would cure nothing."""
    workers = [
        a_worker(summary={"stalled": MANY_STALLED}),
        a_worker("standard", port=6067, summary={"stalled": STALLED}),
    ]
    (found,) = problems_of(a_region(services=[down(C.KAFKA_DOWN, "Kafka")], workers=workers, roles=[]))
    assert found.code is C.KAFKA_DOWN
    hangs = a_worker("push", state="stuck", summary=None, reasons=["it accepts connections"])
    found_too = problems_of(a_region(services=[down(C.KAFKA_DOWN, "Kafka")], workers=[hangs], roles=[]))
    assert [one.code for one in found_too] == [C.KAFKA_DOWN, C.AGENT_STUCK]


def test_a_cause_comes_first_and_takes_its_effects_along() -> None:
    waiting = ["Kafka at k:9092 does not answer", "outbox.publish fails for 25 s", "table contacts recovers"]
    workers = [
        a_worker(state="waiting", reasons=waiting[:2], summary={"failing": {"outbox.publish": 25.0}}),
        a_worker("standard", port=6067, state="waiting", reasons=waiting),
    ]
    found = problems_of(
        a_region(
            services=[down(C.KAFKA_DOWN, "Kafka")],
            workers=workers,
            outbox=a_backlog(90, 60.0),
            rates=some_rates(critical_p99_s=9.0),
        )
    )
    assert [one.code for one in found] == [C.KAFKA_DOWN, C.CRITICAL_SLOW, C.OUTBOX_AGE, C.WORKER_NOT_READY]
    assert found[-1].text.endswith("is not ready: table contacts recovers.")
    assert headline(found) == f"{found[0].text} And 3 more problems."


def test_a_provider_explains_that_its_workers_are_not_ready() -> None:
    reasons = ["provider fcm is open"]
    worker = with_provider("open")
    (found,) = problems_of(
        a_region(workers=[type(worker)(**{**_fields(worker), "state": "waiting", "reasons": reasons})], roles=[])
    )
    assert found.code is C.PROVIDER_FAILING


def _fields(worker: Any) -> dict[str, Any]:
    return {name: getattr(worker, name) for name in worker.__struct_fields__}


def test_headlines_count() -> None:
    assert headline([]) == "Everything works."
    (one,) = problems_of(a_region(overdue_s=31.0))
    assert headline([one]) == one.text
    assert headline([one, one]).endswith(" And 1 more problem.")


def test_each_kind_says_what_to_do_and_its_runbook_exists() -> None:
    headings = re.findall(r"^## (.+)$", (PROJECT / "docs" / "runbooks.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", one.lower()).replace(" ", "-") for one in headings}
    assert set(REMEDIES) == set(ORDER) == set(ProblemCode)
    for code, remedy in REMEDIES.items():
        assert remedy.runbook in anchors, code
        assert remedy.todo.endswith("."), code
